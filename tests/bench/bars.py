"""What a bar is: figures with the value they must reach, the one they aim at, and the rounds they were taken from."""

import statistics
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["at most", "at least"]
Verdict = Literal["aim", "must", "MISSED", "skipped", "FAILED"]
Rounds = list[dict[str, Any]]


@dataclass(frozen=True)
class Limit:
    """What a figure must reach, and what it aims at where that is more."""

    must: float
    aim: float | None = None
    direction: Direction = "at most"

    def is_reached(self, value: float, limit: float) -> bool:
        return value <= limit if self.direction == "at most" else value >= limit

    def verdict(self, value: float) -> Verdict:
        if not self.is_reached(value, self.must):
            return "MISSED"
        return "aim" if self.aim is None or self.is_reached(value, self.aim) else "must"


@dataclass
class Case:
    """One figure. A case without a limit is not judged: it is there to be read beside the others."""

    label: str
    value: float
    unit: str
    limit: Limit | None = None
    rounds: Rounds = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        return self.limit.verdict(self.value) if self.limit else None


@dataclass
class Bar:
    """A promise; its verdict is the worst of its cases."""

    name: str
    title: str
    cases: list[Case] = field(default_factory=list)
    # Why it could not be measured, in two words and in full.
    skipped: str = ""
    reason: str = ""
    # What went wrong in measuring it: then the harness itself has failed.
    failed: str = ""

    @property
    def verdict(self) -> Verdict:
        judged = [case.verdict for case in self.cases if case.verdict]
        if self.failed:
            return "FAILED"
        if self.skipped or not judged:
            return "skipped"
        order: list[Verdict] = ["MISSED", "must", "aim"]
        return min(judged, key=order.index)

    @property
    def is_met(self) -> bool:
        return self.verdict in ("aim", "must")


def median(rounds: Rounds, figure: str) -> float:
    return statistics.median(row[figure] for row in rounds)
