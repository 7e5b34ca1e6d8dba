"""Bars of waiting for the app: latency, limits, the first row, and being told to stop."""

import random
import statistics
import time
from typing import Any

from bars import Bar, Case, Limit, median
from lab import Lab, count_rows, log, quoted, sync, timed
from loads import Loads
from session import Session, poll

LATENCY_MS = 50
ALLOWED_PER_SECOND = 25
FIRST_ROW_ROUNDS = 5
MOMENT_MS = 30


def latency(loads: Loads) -> Bar:
    """Everything as it comes, but for the pace: the app of this bar has no limit."""
    lab, records = loads.lab, loads.lab.sizes.medium
    bar = Bar("latency", f"{LATENCY_MS} ms a reply, no limit, {records:,} customers, against one page after another")
    lab.app.hold(customers=records)
    with lab.app.settings(latency_ms=LATENCY_MS):
        rounds = []
        for _ in range(lab.sizes.rounds):
            drain_s = lab.app.drain("customers")["seconds"]
            rounds.append(delayed_load(lab, records) | {"drain_s": drain_s})
            log(f"  {rounds[-1]}")
        # For comparison only, so one round: our own reader without overlap, and with more than by default.
        others = {given: delayed_load(lab, records, max_concurrency=given) for given in ("1", "16")}
    for row in rounds:
        row["times_faster"] = row["drain_s"] / row["sync_s"]
    faster, limit = median(rounds, "times_faster"), Limit(6, 10, "at least")
    bar.cases.append(Case("against reading and throwing away", faster, "x faster", limit, rounds))
    at_once = max(row["most_in_flight"] for row in rounds)
    bar.cases.append(Case("most requests in flight at once", at_once, "requests"))
    for given, row in others.items():
        faster = median(rounds, "drain_s") / row["sync_s"]
        bar.cases.append(Case(f"the same with max_concurrency '{given}', one round", faster, "x faster", rounds=[row]))
    return bar


def delayed_load(lab: Lab, records: int, **options: str) -> dict[str, Any]:
    with lab.session() as session, lab.account(session, ["customers"], **options) as account:
        lab.settle(session)
        lab.app.reset_counters()
        sync_s = timed(lambda: sync(session, account, "customers"))
        counted = lab.app.counters()
        assert count_rows(session, f"{account}.customers") == records
    return {"sync_s": sync_s, "calls": counted["requests"], "most_in_flight": counted["most_in_flight"]}


def pace(loads: Loads) -> Bar:
    """At the pace that the source file documents, with an app that allows exactly this and judges each second."""
    lab, records = loads.lab, loads.lab.sizes.medium
    bar = Bar("pace", f"the app allows {ALLOWED_PER_SECOND} requests/s, {records // 100:,} pages")
    lab.app.hold(customers=records)
    rounds = [paced_load(lab, records) for _ in range(lab.sizes.rounds)]
    share = Limit(0.95, 0.98, "at least")
    bar.cases.append(Case("of the allowance used", median(rounds, "share_used"), "x", share, rounds))
    bar.cases.append(Case("429 provoked, all rounds", sum(row["refused"] for row in rounds), "replies", Limit(0)))
    return bar


def paced_load(lab: Lab, records: int) -> dict[str, Any]:
    with lab.session() as session, lab.account(session, ["customers"], requests_per_second=None) as account:
        lab.settle(session)
        with lab.app.settings(requests_per_second=ALLOWED_PER_SECOND):
            lab.app.reset_counters()
            sync_s = timed(lambda: sync(session, account, "customers"))
            counted = lab.app.counters()
        assert count_rows(session, f"{account}.customers") == records
    served = counted["requests"] - counted["refused"]
    row = {"sync_s": sync_s, "served": served, "refused": counted["refused"]}
    row["share_used"] = served / (ALLOWED_PER_SECOND * sync_s)
    log(f"  {row}")
    return row


def first_row(loads: Loads) -> Bar:
    lab = loads.lab
    bar = Bar("first-row", f"SELECT .. LIMIT 1 on a live table of {lab.sizes.small:,} customers")
    lab.app.hold(customers=lab.sizes.small)
    with lab.session() as owner, lab.account(owner, ["customers"]) as account:
        table = quoted(f"{account}_live", "customers")
        with lab.app.settings(latency_ms=LATENCY_MS):
            rounds = [first_row_round(lab, table) for _ in range(FIRST_ROW_ROUNDS)]
    # A bound that holds must hold each time.
    bar.cases.append(Case("calls until its session ended", max(r["calls"] for r in rounds), "calls", Limit(1), rounds))
    fetched = max(r["calls_of_cursor"] for r in rounds)
    bar.cases.append(Case("calls of a cursor that gave one row", fetched, "calls", Limit(1)))
    waited = median(rounds, "first_row_ms")
    bar.cases.append(Case(f"time, with {LATENCY_MS} ms a reply", waited, "ms"))
    return bar


def first_row_round(lab: Lab, table: str) -> dict[str, Any]:
    lab.app.reset_counters()
    with lab.session() as session:
        seconds = timed(lambda: session.row(f"SELECT * FROM {table} LIMIT 1"))
    # Nothing can call any more once the backend is gone.
    wait_gone(lab, session.pid)
    calls = lab.app.counters()["requests"]
    lab.app.reset_counters()
    with lab.session() as session:
        session.run("BEGIN", f"DECLARE one CURSOR FOR SELECT * FROM {table}")
        session.row("FETCH 1 FROM one")
    wait_gone(lab, session.pid)
    return {"first_row_ms": seconds * 1000, "calls": calls, "calls_of_cursor": lab.app.counters()["requests"]}


def wait_gone(lab: Lab, pid: int) -> None:
    with lab.session() as other:
        is_gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        poll(lambda: other.value(is_gone, pid), f"backend {pid} is gone")


def cancel(loads: Loads) -> Bar:
    lab, count = loads.lab, loads.lab.sizes.cancels
    bar = Bar("cancel", f"cancel while waiting on the app, {count:,} times at random moments")
    lab.app.hold(customers=lab.sizes.small)
    chance = random.Random(1)
    with lab.session() as session, lab.session() as other, lab.account(session, ["customers"]) as account:
        with lab.app.settings(hang=True):
            rounds = [{"ms": 1000 * cancel_once(lab, session, other, account, chance)} for _ in range(count)]
    waits = sorted(row["ms"] for row in rounds)
    percentiles = statistics.quantiles(waits, n=100, method="inclusive")
    bar.cases.append(Case("99 of 100", percentiles[98], "ms", Limit(50), rounds))
    bar.cases.append(Case("longest", waits[-1], "ms", Limit(100)))
    bar.cases.append(Case("half", percentiles[49], "ms"))
    return bar


def cancel_once(lab: Lab, session: Session, other: Session, account: str, chance: random.Random) -> float:
    """Seconds from the call of pg_cancel_backend to the error at the client."""
    run = session.background("CALL cloudsync_sync(%s)", account)
    lab.app.wait_held(1)
    # Not a synchronisation: the moment is what is varied.
    time.sleep(chance.uniform(0, MOMENT_MS / 1000))
    started = time.monotonic()
    other.rows("SELECT pg_cancel_backend(%s)", session.pid)
    run.finish()
    error = run.error
    assert error is not None and error.sqlstate == "57014", f"not cancelled but {error or run.result}"
    lab.app.wait_released()
    return run.ended - started
