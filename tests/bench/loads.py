"""First loads: how long, against COPY of the very rows that came out, and how much memory the backend took."""

import threading
from pathlib import Path
from typing import Any, Sequence

from bars import Bar, Case, median
from lab import Lab, Session, count_rows, log, quoted, sync, timed

MIB = 1 << 20
SAMPLE_SECONDS = 0.02
# Twenty of a charge's columns that hold one plain value each.
SCALARS = (
    "id", "amount", "amount_captured", "amount_refunded", "balance_transaction_id", "captured", "created", "currency",
    "customer_id", "description", "disputed", "invoice_id", "livemode", "paid", "payment_intent_id", "payment_method_id",
    "receipt_email", "refunded", "shipping_address_country", "status",
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
        self.done: dict[tuple[str, int, bool], list[dict[str, Any]]] = {}

    def rounds(self, collection: str, records: int, scalars: bool = False) -> list[dict[str, Any]]:
        key = (collection, records, scalars)
        if key not in self.done:
            self.lab.app.hold(**{collection: records})
            self.done[key] = [self._round(collection, records, scalars) for _ in range(self.lab.sizes.rounds)]
        return self.done[key]

    def _round(self, collection: str, records: int, scalars: bool) -> dict[str, Any]:
        lab = self.lab
        with lab.session() as session, lab.account(session, [collection], SCALARS if scalars else None) as account:
            lab.settle(session)
            lab.app.reset_counters()
            with MemorySampler(session.pid) as memory:
                sync_s = timed(lambda: sync(session, account, collection))
            calls = lab.app.counters()["requests"]
            table = quoted(account, collection)
            stored = count_rows(session, table)
            assert stored == records, f"{stored} rows of {records} records of {collection}"
            figures = {"sync_s": sync_s, "calls": calls, "memory_mib": memory.growth / MIB}
            figures["table_mib"] = session.value(f"SELECT pg_total_relation_size('{table}')") / MIB
            for form in ("text", "binary"):
                figures[f"copy_{form}_s"] = self._copy(table, form, records)
            figures["drain_s"] = lab.app.drain(collection)["seconds"]
        figures["copy_ratio"] = figures["sync_s"] / figures["copy_text_s"]
        figures["drain_ratio"] = figures["sync_s"] / figures["drain_s"]
        log(f"  {records} {collection}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
        return figures

    def _copy(self, table: str, form: str, records: int) -> float:
        """Seconds of a COPY of exactly these rows and columns into an equal table with the same key."""
        path = self.lab.file(f"copied.{form}")
        with self.lab.session() as session:
            session.run(
                f"COPY {table} TO '{path}' (FORMAT {form})", f"CREATE TABLE copy_target (LIKE {table} INCLUDING ALL)"
            )
            try:
                self.lab.settle(session)
                seconds = timed(lambda: session.run(f"COPY copy_target FROM '{path}' (FORMAT {form})"))
                assert count_rows(session, "copy_target") == records
            finally:
                session.run("DROP TABLE copy_target")
                path.unlink()
        return seconds


def load_cases(rounds: list[dict[str, Any]], label: str, is_judged: bool) -> list[Case]:
    """A first load against COPY and, to be read beside it, against the other two yardsticks."""
    rows = [Case(label, median(rounds, "copy_ratio"), "x COPY", rounds, is_judged)]
    binary = median([{"ratio": row["sync_s"] / row["copy_binary_s"]} for row in rounds], "ratio")
    rows.append(Case(f"{label}, against binary COPY", binary, "x COPY", is_judged=False))
    drained = median(rounds, "drain_ratio")
    rows.append(Case(f"{label}, against reading all pages", drained, "x reading", is_judged=False))
    return rows


def first_load(loads: Loads) -> Bar:
    sizes = loads.lab.sizes
    bar = Bar("first-load", "first load, all columns incl. jsonb, against COPY", 1.3, 1.0)
    workloads: Sequence[tuple[str, int, bool]] = [
        ("charges", sizes.medium, True),
        ("customers", sizes.medium, True),
        ("charges", sizes.small, False),
        ("customers", sizes.small, False),
    ]
    for collection, records, is_judged in workloads:
        bar.cases += load_cases(loads.rounds(collection, records), f"{records:,} {collection}", is_judged)
    return bar


def scalar_columns(loads: Loads) -> Bar:
    records = loads.lab.sizes.medium
    bar = Bar("scalar-columns", f"first load, {len(SCALARS)} scalar columns selected, against COPY", 2.5, 1.5)
    bar.cases += load_cases(loads.rounds("charges", records, scalars=True), f"{records:,} charges", True)
    return bar


def memory(loads: Loads) -> Bar:
    sizes = loads.lab.sizes
    bar = Bar("memory", f"memory of the backend above idle, {sizes.large:,} rows", 64, 32)
    few, many = (loads.rounds("customers", records) for records in (sizes.medium, sizes.large))
    bar.cases.append(Case(f"{sizes.large:,} customers", median(many, "memory_mib"), "MiB", many))
    grown = median(many, "memory_mib") - median(few, "memory_mib")
    bar.cases.append(Case(f"more than for {sizes.medium:,}", grown, "MiB", few, must=8))
    return bar


def per_row(loads: Loads) -> Bar:
    sizes = loads.lab.sizes
    bar = Bar("per-row", f"time per row at {sizes.large:,} rows against {sizes.medium:,}", 1.15, 1.0)
    few, many = (loads.rounds("customers", records) for records in (sizes.medium, sizes.large))
    ratio = (median(many, "sync_s") / sizes.large) / (median(few, "sync_s") / sizes.medium)
    bar.cases.append(Case("customers", ratio, "x", many))
    bar.cases += load_cases(many, f"{sizes.large:,} customers", False)
    return bar
