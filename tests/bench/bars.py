"""What a bar is: a figure with the value it must reach and the one it aims at, and the rounds it was taken from."""

import statistics
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["at most", "at least"]
Verdict = Literal["aim", "must", "MISSED", "skipped"]


@dataclass
class Case:
    """One figure. A case that is not judged is there to be read beside the others."""

    label: str
    value: float
    unit: str = "x"
    rounds: list[dict[str, Any]] = field(default_factory=list)
    is_judged: bool = True
    note: str = ""
    # A bar whose cases have different units gives each its own limits.
    must: float | None = None
    aim: float | None = None


@dataclass
class Bar:
    name: str
    title: str
    must: float
    aim: float | None
    direction: Direction = "at most"
    cases: list[Case] = field(default_factory=list)
    skipped: str = ""

    def limits(self, case: Case) -> tuple[float, float | None]:
        return (self.must, self.aim) if case.must is None else (case.must, case.aim)

    def reaches(self, value: float, limit: float) -> bool:
        return value <= limit if self.direction == "at most" else value >= limit

    def verdict_of(self, case: Case) -> Verdict:
        must, aim = self.limits(case)
        if not self.reaches(case.value, must):
            return "MISSED"
        return "aim" if aim is None or self.reaches(case.value, aim) else "must"

    @property
    def verdict(self) -> Verdict:
        """The worst of what is judged."""
        judged = [self.verdict_of(case) for case in self.cases if case.is_judged]
        if self.skipped or not judged:
            return "skipped"
        order: list[Verdict] = ["MISSED", "must", "aim"]
        return min(judged, key=order.index)

    @property
    def is_met(self) -> bool:
        return self.verdict in ("aim", "must")


def median(rounds: list[dict[str, Any]], figure: str) -> float:
    return statistics.median(row[figure] for row in rounds)
