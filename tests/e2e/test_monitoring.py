"""What a person sees of the state: status, runs, usage, progress."""

import datetime

import pytest

from session import poll


@pytest.fixture
def stripe(pg, sim, apps):
    sim.seed("stripe", customers=250, charges=120)
    apps.connect(pg, "stripe", ["charges", "customers"])
    return pg


def test_status_shows_each_collection_before_its_first_run(pg, sim, apps):
    apps.connect_in_one_call(pg, "stripe", ["charges", "customers"])
    rows = pg.rows("SELECT * FROM cloudsync.status WHERE server = 'stripe' ORDER BY collection")
    assert [row[:2] for row in rows] == [("stripe", "charges"), ("stripe", "customers")]


def test_status_shows_rows_and_freshness(stripe):
    stripe.refresh("stripe")
    row = stripe.row("SELECT to_jsonb(s) FROM cloudsync.status s WHERE collection = 'customers'")[0]
    assert 250 in row.values(), row
    synced = datetime.datetime.fromisoformat(row["synced_at"])
    assert abs((datetime.datetime.now(datetime.timezone.utc) - synced).total_seconds()) < 60


@pytest.mark.proves("P5")
def test_status_shows_the_last_error_with_its_hint_until_it_is_gone(stripe, sim):
    sim.fault("stripe", "status", {"path_prefix": "/v1/charges"}, times=0, status=403, body={"error": {"type": "invalid_request_error", "message": "not permitted"}})
    stripe.refresh("stripe")
    row = stripe.row("SELECT to_jsonb(s) FROM cloudsync.status s WHERE collection = 'charges'")[0]
    shown = " ".join(map(str, row.values()))
    assert "42501" in shown and "charges" in shown, row
    assert row.get("hint") or row.get("last_hint"), row
    sim.clear_faults("stripe")
    stripe.refresh("stripe")
    row = stripe.row("SELECT to_jsonb(s) FROM cloudsync.status s WHERE collection = 'charges'")[0]
    assert "42501" not in " ".join(map(str, row.values())), row


def test_runs_keep_what_each_refresh_returned(stripe):
    returned = stripe.refresh("stripe")
    stripe.refresh("stripe")
    kept = stripe.rows("SELECT * FROM cloudsync.runs WHERE server = 'stripe' AND mode = 'full' ORDER BY collection")
    assert [(r.collection, r.status, r.fetched, r.inserted) for r in kept] == [
        (r.collection, r.status, r.fetched, r.inserted) for r in returned
    ]
    assert stripe.value("SELECT count(*) FROM cloudsync.runs WHERE server = 'stripe'") == 4


@pytest.mark.proves("D8")
def test_usage_counts_the_calls_that_were_made(stripe, sim):
    stripe.refresh("stripe")
    stripe.refresh("stripe")
    usage = stripe.rows("SELECT * FROM cloudsync.api_usage WHERE server = 'stripe'")
    assert sum(row.calls for row in usage) == len(sim.requests("stripe"))


def test_a_running_sync_shows_its_progress_to_others_and_to_its_caller(stripe, db, sim):
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=2) as gate:
        run = stripe.background("CALL cloudsync_sync('stripe')")
        gate.wait()
        poll(
            lambda: any("running" in map(str, row) for row in other.rows("SELECT * FROM cloudsync.status WHERE collection = 'customers'")),
            "status says running",
        )
        gate.release()
        run.rows()
    notices = [n.message_primary for n in stripe.notices if n.severity_nonlocalized in ("NOTICE", "INFO")]
    assert any("customers" in text for text in notices), notices
    assert not any(
        "running" in map(str, row) for row in other.rows("SELECT * FROM cloudsync.status WHERE collection = 'customers'")
    )


def test_a_refresh_is_told_in_one_line_of_the_log(stripe, cluster):
    start = len(cluster.log_text())
    stripe.refresh("stripe")
    lines = [line for line in cluster.log_text()[start:].splitlines() if "cloudsync: stripe.customers: " in line]
    assert len(lines) == 1, lines
    assert "calls" in lines[0]


@pytest.mark.proves("P5")
def test_a_failed_collection_is_a_warning_not_an_error(stripe, sim):
    sim.fault("stripe", "status", {"path_prefix": "/v1/charges"}, times=0, status=403, body={"error": {"message": "no"}})
    outcomes = {o.collection: o.status for o in stripe.refresh("stripe")}
    assert outcomes == {"charges": "failed", "customers": "ok"}
    (warning,) = stripe.warnings()
    assert "stripe.charges" in warning.message_primary and warning.message_hint


@pytest.mark.proves("P5")
def test_a_sync_commits_the_good_collections_and_then_raises_for_the_bad_one(stripe, db, sim, apps):
    sim.fault("stripe", "status", {"path_prefix": "/v1/charges"}, times=0, status=403, body={"error": {"message": "no"}})
    with stripe.fails("42501") as failure:
        stripe.rows("CALL cloudsync_sync('stripe')")
    assert "charges" in failure.text
    apps.assert_like_ledger(db.session(), "stripe", "customers")


def test_the_columns_of_the_outcome_are_what_the_manual_says(pg):
    names = pg.column(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'cloudsync.outcome'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert names == (
        "server collection status mode fetched inserted updated unchanged stale deleted rejected calls bytes "
        "started_at elapsed sqlstate message hint".split()
    )
