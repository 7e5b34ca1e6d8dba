"""First loads: how long, against COPY of the very rows that came out, and how much memory the backend took."""

import threading
from pathlib import Path
from typing import Any

from bars import Bar, Case, Limit, Rounds, median
from lab import Lab, count_rows, log, quoted, sync, timed

MIB = 1 << 20
SAMPLE_SECONDS = 0.02
# One round is enough of a load that takes longer: it misses its bars anyway, and others have to be measured.
LONG_SECONDS = 180
# Ratios of a first load, and the two times that each is of.
RATIOS = {
    "copy_ratio": ("sync_s", "copy_text_s"),
    "binary_copy_ratio": ("sync_s", "copy_binary_s"),
    "written_ratio": ("sync_written_s", "copy_text_written_s"),
    "drain_ratio": ("sync_s", "drain_s"),
}
# Twenty of a charge's columns that hold one plain value each.
SCALARS = (
    "id", "amount", "amount_captured", "amount_refunded", "balance_transaction_id", "captured", "created",
    "currency", "customer_id", "description", "disputed", "invoice_id", "livemode", "paid", "payment_intent_id",
    "payment_method_id", "receipt_email", "refunded", "shipping_address_country", "status",
)  # fmt: skip


def anonymous_bytes(pid: int) -> int:
    """Memory of the process alone: shared buffers and its program are not counted."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no RssAnon for process {pid}")


class MemorySampler:
    """The highest RssAnon of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.highest = anonymous_bytes(pid)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            self.highest = max(self.highest, anonymous_bytes(self.pid))

    def __enter__(self) -> "MemorySampler":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        self.highest = max(self.highest, anonymous_bytes(self.pid))

    @property
    def growth(self) -> int:
        return self.highest - self.before


class Loads:
    """First loads are measured once for each workload and serve several bars."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.done: dict[tuple[str, int, bool], Rounds] = {}
        self.grown: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def rounds(self, collection: str, records: int, scalars: bool = False) -> Rounds:
        key = (collection, records, scalars)
        if key not in self.done:
            self.lab.app.hold(**{collection: records})
            self.done[key] = [self._round(collection, records, scalars) for _ in range(self.lab.sizes.rounds)]
        return self.done[key]

    def few_and_many(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Loads of the medium and of the large size, one right after the other, so that both knew the same machine."""
        sizes = self.lab.sizes
        while len(self.grown) < sizes.rounds and not (self.grown and self.grown[0][1]["sync_s"] > LONG_SECONDS):
            pair = []
            for records in (sizes.medium, sizes.large):
                self.lab.app.hold(customers=records)
                pair.append(self._round("customers", records, scalars=False))
            self.grown.append((pair[0], pair[1]))
        return self.grown

    def _round(self, collection: str, records: int, scalars: bool) -> dict[str, Any]:
        lab = self.lab
        with lab.session() as session, lab.account(session, [collection], SCALARS if scalars else None) as account:
            lab.settle(session)
            lab.app.reset_counters()
            with MemorySampler(session.pid) as memory:
                sync_s = timed(lambda: sync(session, account, collection))
            written_s = sync_s + timed(lambda: session.run("CHECKPOINT"))
            calls = lab.app.counters()["requests"]
            table = quoted(account, collection)
            stored = count_rows(session, table)
            assert stored == records, f"{stored} rows of {records} records of {collection}"
            figures = {"sync_s": sync_s, "sync_written_s": written_s, "calls": calls, "memory_mib": memory.growth / MIB}
            figures["table_mib"] = session.value(f"SELECT pg_total_relation_size('{table}')") / MIB
            for form in ("text", "binary"):
                figures |= self._copy(table, form, records)
            figures["drain_s"] = lab.app.drain(collection)["seconds"]
        for name, (ours, theirs) in RATIOS.items():
            figures[name] = figures[ours] / figures[theirs]
        log(f"  {records} {collection}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        return figures

    def _copy(self, table: str, form: str, records: int) -> dict[str, float]:
        """Seconds of a COPY of exactly these rows and columns into an equal table with the same key.

        COPY writes most of its pages itself, since it may use few buffers; what a load leaves to the next checkpoint
        is told by the second figure, with that checkpoint.
        """
        path = self.lab.file(f"copied.{form}")
        with self.lab.session() as session:
            session.run(
                f"COPY {table} TO '{path}' (FORMAT {form})", f"CREATE TABLE copy_target (LIKE {table} INCLUDING ALL)"
            )
            try:
                self.lab.settle(session)
                seconds = timed(lambda: session.run(f"COPY copy_target FROM '{path}' (FORMAT {form})"))
                written = seconds + timed(lambda: session.run("CHECKPOINT"))
                assert count_rows(session, "copy_target") == records
            finally:
                session.run("DROP TABLE copy_target")
                path.unlink()
        return {f"copy_{form}_s": seconds, f"copy_{form}_written_s": written}


def load_cases(rounds: Rounds, label: str, limit: Limit | None) -> list[Case]:
    """A first load against COPY and, to be read beside it, against the other yardsticks."""
    return [
        Case(label, median(rounds, "copy_ratio"), "x COPY", limit, rounds),
        Case(f"{label}, both with the checkpoint after", median(rounds, "written_ratio"), "x COPY"),
        Case(f"{label}, against binary COPY", median(rounds, "binary_copy_ratio"), "x COPY"),
        Case(f"{label}, against reading all pages", median(rounds, "drain_ratio"), "x reading"),
    ]


def rounds_of(rounds: Rounds) -> str:
    return f"{len(rounds)} rounds" if len(rounds) > 1 else "one round"


def first_load(loads: Loads) -> Bar:
    sizes, limit = loads.lab.sizes, Limit(1.3, 1.0)
    bar = Bar("first-load", "first load, all columns incl. jsonb, against COPY")
    for records, judged_by in ((sizes.medium, limit), (sizes.small, None)):
        for collection in ("charges", "customers"):
            bar.cases += load_cases(loads.rounds(collection, records), f"{records:,} {collection}", judged_by)
    return bar


def scalar_columns(loads: Loads) -> Bar:
    records = loads.lab.sizes.medium
    bar = Bar("scalar-columns", f"first load, {len(SCALARS)} scalar columns selected, against COPY")
    bar.cases += load_cases(loads.rounds("charges", records, scalars=True), f"{records:,} charges", Limit(2.5, 1.5))
    return bar


def memory(loads: Loads) -> Bar:
    sizes = loads.lab.sizes
    bar = Bar("memory", f"memory of the backend above idle, {sizes.large:,} rows")
    few, many = map(list, zip(*loads.few_and_many()))
    label, limit = f"{sizes.large:,} customers, {rounds_of(many)}", Limit(64, 32)
    bar.cases.append(Case(label, median(many, "memory_mib"), "MiB", limit, many))
    grown = median(many, "memory_mib") - median(few, "memory_mib")
    bar.cases.append(Case(f"more than for {sizes.medium:,}", grown, "MiB", Limit(8), few))
    return bar


def per_row(loads: Loads) -> Bar:
    sizes = loads.lab.sizes
    bar = Bar("per-row", f"time per row at {sizes.large:,} rows against {sizes.medium:,}")
    more = sizes.large / sizes.medium
    rounds = [{"few_s": few["sync_s"], "many_s": many["sync_s"]} for few, many in loads.few_and_many()]
    for row in rounds:
        row["per_row"] = row["many_s"] / more / row["few_s"]
    label = f"customers, {rounds_of(rounds)}"
    bar.cases.append(Case(label, median(rounds, "per_row"), "x", Limit(1.15, 1.0), rounds))
    bar.cases += load_cases([many for _, many in loads.few_and_many()], f"{sizes.large:,} customers", None)
    return bar
