"""Bars of later refreshes: a hundredth has changed, or nothing has."""

from typing import Any

from bars import Bar, Case, Limit, median
from lab import Lab, columns_of, log, quoted, sync, timed
from loads import Loads
from session import Session, row_versions

MEGABYTE = 1_000_000


def change(loads: Loads) -> Bar:
    lab, records = loads.lab, loads.lab.sizes.medium
    bar = Bar("change", f"refresh with 1 % of {records:,} rows changed, against an upsert of these from a temp table")
    for collection in ("customers", "charges"):
        lab.app.hold(**{collection: records})
        with lab.session() as session, lab.account(session, [collection]) as account:
            sync(session, account, collection)
            rounds = [change_round(lab, session, account, collection, seed) for seed in range(1, lab.sizes.rounds + 1)]
            with lab.session() as fresh:
                seed = lab.sizes.rounds + 1
                anew = change_round(lab, fresh, account, collection, seed)
        label, limit = f"{records // 100:,} {collection}", Limit(3, 1.5)
        bar.cases.append(Case(label, median(rounds, "ratio"), "x upsert", limit, rounds))
        bar.cases.append(Case(f"{label}, in a new session, one round", anew["ratio"], "x upsert", rounds=[anew]))
    return bar


def change_round(lab: Lab, session: Session, account: str, collection: str, seed: int) -> dict[str, Any]:
    """A refresh of the changed rows, then the same change made to a copy of the table as it was before."""
    table, count = quoted(account, collection), lab.sizes.medium // 100
    session.run(f"VACUUM ANALYZE {table}", f"CREATE TABLE as_before (LIKE {table} INCLUDING ALL)")
    session.run(f"INSERT INTO as_before SELECT * FROM {table}", "VACUUM ANALYZE as_before")
    ids = lab.app.touch(collection, count, seed)
    lab.settle(session)
    lab.app.reset_counters()
    sync_s = timed(lambda: sync(session, account, collection))
    calls = lab.app.counters()["requests"]
    session.run("CREATE TEMP TABLE changed AS TABLE as_before WITH NO DATA")
    session.rows(f"INSERT INTO changed SELECT * FROM {table} WHERE id = ANY(%s)", ids)
    upsert = upsert_statement(session, "as_before", "changed")
    lab.settle(session)
    upsert_s = timed(lambda: session.run(upsert))
    difference = session.value(f"SELECT count(*) FROM (TABLE {table} EXCEPT TABLE as_before) AS difference")
    revised = session.value(f"SELECT count(*) FROM {table} WHERE id = ANY(%s) AND metadata ->> 'revision' <> '0'", ids)
    session.run("DROP TABLE changed, as_before")
    assert revised == count and difference == 0, f"{revised} of {count} changes came, {difference} rows differ"
    row = {"sync_s": sync_s, "upsert_s": upsert_s, "ratio": sync_s / upsert_s, "calls": calls}
    log(f"  {row}")
    return row


def upsert_statement(session: Session, table: str, source: str) -> str:
    columns = columns_of(session, "public", table)
    sets = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in columns if c != "id")
    return f"INSERT INTO {table} SELECT * FROM {source} ON CONFLICT (id) DO UPDATE SET {sets}"


def quiet(loads: Loads) -> Bar:
    lab, sizes = loads.lab, loads.lab.sizes
    bar = Bar("quiet", "refresh with nothing new")
    lab.app.hold(customers=sizes.medium, charges=sizes.medium)
    bar.cases += quiet_cases(lab, ["customers", "charges"], f"{sizes.medium:,} customers and charges")
    # Some collections cost a call for each customer in their first load: few customers.
    few = min(sizes.small, 1_000)
    lab.app.hold(customers=few, charges=few)
    with lab.session() as session:
        every = session.column(
            "SELECT collection FROM cloudsync.collections WHERE source = 'stripe' AND unsupported IS NULL ORDER BY 1"
        )
    bar.cases += quiet_cases(lab, every, f"all {len(every)} collections")
    return bar


def quiet_cases(lab: Lab, collections: list[str], label: str) -> list[Case]:
    with lab.session() as session, lab.account(session, collections) as account:
        sync(session, account)
        rounds = [quiet_round(lab, session, account, collections) for _ in range(lab.sizes.rounds)]
    # A bound that holds must hold each time.
    worst = {figure: max(row[figure] for row in rounds) for figure in ("tables_written", "wal_mb", "calls")}
    return [
        Case(f"{label}: tables with a new row version", worst["tables_written"], "tables", Limit(0), rounds),
        Case(f"{label}: WAL", worst["wal_mb"], "MB", Limit(1)),
        Case(f"{label}: calls", worst["calls"], "calls", Limit(1)),
        Case(f"{label}: time", median(rounds, "sync_ms"), "ms"),
    ]


def quiet_round(lab: Lab, session: Session, account: str, collections: list[str]) -> dict[str, Any]:
    tables = [quoted(account, collection) for collection in collections]
    before = [row_versions(session, table) for table in tables]
    # The first change of a page after a checkpoint costs a page of WAL: the dearest case.
    lab.settle(session)
    lab.app.reset_counters()
    position = session.value("SELECT pg_current_wal_insert_lsn()")
    seconds = timed(lambda: sync(session, account))
    wal = session.value("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s::pg_lsn)", position)
    after = [row_versions(session, table) for table in tables]
    row = {
        "sync_ms": seconds * 1000,
        "wal_mb": float(wal) / MEGABYTE,
        "calls": lab.app.counters()["requests"],
        "tables_written": sum(old != new for old, new in zip(before, after)),
    }
    log(f"  {row}")
    return row
