"""Interrupted at any point, nothing is lost and nothing stored twice; what must outlive a rollback does."""

import os
import random

import pytest

from session import Session, poll

SYNC = "CALL cloudsync_sync('stripe', ARRAY['customers'])"


@pytest.fixture
def stripe(pg, sim, apps):
    sim.seed("stripe", customers=550)
    apps.connect(pg, "stripe", ["customers"])
    return pg


@pytest.mark.proves("D1", "K02")
def test_a_sync_ended_half_way_goes_on_from_there(stripe, db, sim, apps):
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=4) as gate:
        run = stripe.background(SYNC)
        gate.wait()
        poll(lambda: other.value("SELECT count(*) FROM stripe.customers") >= 300, "three pages are committed")
        other.rows("SELECT pg_terminate_backend(%s)", stripe.pid)
        run.finish()
    sim.clear_requests("stripe")
    other.rows(SYNC)
    assert len(sim.requests("stripe", path="/v1/customers")) < 6, "started from the beginning"
    apps.assert_like_ledger(other, "stripe", "customers")
    (run_row,) = other.rows("SELECT * FROM cloudsync.runs WHERE server = 'stripe' AND status = 'ok'")
    assert run_row.mode == "resumed"


@pytest.mark.proves("D1", "D2", "D6", "K01")
@pytest.mark.parametrize("how", ["kill -9 of the backend", "immediate shutdown"])
def test_a_crash_half_way_loses_and_doubles_nothing(how, own_cluster, sim, apps):
    server = own_cluster()
    session = Session(server.connect("test"))
    sim.seed("stripe", customers=550)
    apps.connect(session, "stripe", ["customers"])
    with sim.gate("stripe", path_prefix="/v1/customers", skip=3) as gate:
        run = session.background(SYNC)
        gate.wait()
        if how == "immediate shutdown":
            server.stop_immediate()
            run.finish()
            server.start()
        else:
            server.kill_backend(session.pid)
            run.finish()
    again = Session(server.connect("test"))
    for change in range(3):
        sim.change("stripe", "customers", sim.ids("stripe", "customers")[change], {"name": f"After the crash {change}"})
    again.rows(SYNC)
    again.rows(SYNC)
    apps.assert_like_ledger(again, "stripe", "customers")


@pytest.mark.proves("D1", "D2", "K01", "K02")
@pytest.mark.parametrize("how", ["kill -9", "immediate shutdown", "cancel"])
def test_a_load_in_slices_fetches_again_at_most_a_page_of_each(how, own_cluster, sim, apps):
    server = own_cluster()
    session = Session(server.connect("test"))
    sim.seed("stripe", customers=6000)
    apps.connect(session, "stripe", ["customers"], requests_per_second="0", max_concurrency="8")
    with sim.gate("stripe", path_prefix="/v1/customers", skip=30) as gate:
        run = session.background(SYNC)
        gate.wait(2)
        look = Session(server.connect("test"))
        poll(lambda: look.value("SELECT count(*) FROM stripe.customers") >= 2500, "what was answered is stored")
        if how == "immediate shutdown":
            server.stop_immediate()
            run.finish()
            server.start()
        elif how == "kill -9":
            server.kill_backend(session.pid)
            run.finish()
        else:
            look.rows("SELECT pg_cancel_backend(%s)", session.pid)
            run.finish()
            assert run.error.sqlstate == "57014"
    again = Session(server.connect("test"))
    stored, slices = again.row(
        "SELECT (SELECT count(*) FROM stripe.customers), jsonb_array_length(position -> 'slices') "
        "FROM cloudsync.collection_state WHERE server = 'stripe' AND collection = 'customers'"
    )
    assert 2500 <= stored < 6000 and slices > 1, "it was interrupted in the middle, with several slices open"
    again.rows(SYNC)
    second = again.row("SELECT * FROM cloudsync.runs WHERE server = 'stripe' AND status = 'ok'")
    assert (second.mode, second.inserted) == ("resumed", 6000 - stored)
    assert second.fetched - second.inserted <= 100 * slices, "what was stored is not fetched again"
    apps.assert_like_ledger(again, "stripe", "customers")


@pytest.mark.proves("D1", "D2", "D3", "K01")
@pytest.mark.slow
def test_crashes_at_random_points_leave_no_difference(own_cluster, sim, apps):
    """Rounds of: change things at both apps, sync, crash somewhere in it. The seed replays the schedule."""
    seed = int(os.environ.get("CRASH_SEED", "20261122"))
    rounds = int(os.environ.get("CRASH_ROUNDS", "12"))
    print(f"CRASH_SEED={seed} CRASH_ROUNDS={rounds}")
    chance = random.Random(seed)
    server = own_cluster()
    session = Session(server.connect("test"))
    sim.seed("stripe", customers=400)
    sim.seed("salesforce", accounts=900)
    sim.config("salesforce", page_size=200)
    apps.connect(session, "stripe", ["customers"])
    apps.connect(session, "salesforce", ["accounts"])
    work = [("stripe", "customers", "name"), ("salesforce", "accounts", "Name")]
    for number in range(rounds):
        app, collection, field = work[number % 2]
        for key in chance.sample(sim.ids(app, collection), 10):
            sim.change(app, collection, key, {field: f"round {number}"})
        sim.remove(app, collection, chance.choice(sim.ids(app, collection)))
        if chance.random() < 0.3:
            session.rows("SELECT cloudsync_reset(%s, %s)", app, collection)
        with sim.gate(app, skip=chance.randrange(0, 5)) as gate:
            run = session.background(f"CALL cloudsync_sync('{app}')")
            poll(lambda: not run.is_running or gate.look()["waiting"], "the sync waits or ends")
            if chance.random() < 0.5:
                server.stop_immediate()
                run.finish()
                server.start()
            else:
                server.kill_backend(session.pid)
                run.finish()
        session = Session(server.connect("test"))
    for app, collection, _ in work:
        session.rows(f"CALL cloudsync_sync('{app}')")
        # A reset forgets since when deletions have to be looked for; a reconcile finds them all.
        session.rows("SELECT cloudsync_reconcile(%s, %s)", app, collection)
        apps.assert_like_ledger(session, app, collection, may_miss_deleted=True)


@pytest.mark.proves("K05", "D1", "P5")
def test_a_rolled_back_refresh_leaves_rows_and_checkpoint_as_they_were(stripe, sim, apps):
    stripe.refresh_one("stripe", "customers")
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "Rolled back once"})
    stripe.run("BEGIN")
    assert stripe.refresh_one("stripe", "customers").updated == 1
    stripe.run("ROLLBACK")
    assert stripe.value("SELECT count(*) FROM stripe.customers WHERE name = 'Rolled back once'") == 0
    assert stripe.refresh_one("stripe", "customers").updated == 1
    apps.assert_like_ledger(stripe, "stripe", "customers")


@pytest.mark.proves("K05", "K04")
def test_a_refresh_undone_by_a_savepoint_can_be_done_again(stripe, sim, apps):
    stripe.run("BEGIN", "SAVEPOINT s")
    stripe.refresh_one("stripe", "customers")
    stripe.run("ROLLBACK TO s")
    stripe.refresh_one("stripe", "customers")
    stripe.run("COMMIT")
    apps.assert_like_ledger(stripe, "stripe", "customers")


@pytest.mark.proves("K04")
def test_a_refresh_works_inside_an_exception_block(stripe, sim, apps):
    stripe.run(
        """DO $$ BEGIN
             BEGIN
               PERFORM cloudsync_refresh('stripe', 'customers');
               RAISE EXCEPTION 'undo';
             EXCEPTION WHEN raise_exception THEN NULL;
             END;
             PERFORM cloudsync_refresh('stripe', 'customers');
           END $$"""
    )
    apps.assert_like_ledger(stripe, "stripe", "customers")


@pytest.mark.proves("P5", "K05", "H01")
def test_a_failure_is_remembered_although_its_transaction_rolls_back(pg, sim, apps):
    apps.server(pg, "stripe", credentials={"api_key": "sk_test_wrong"})
    pg.run("BEGIN")
    (outcome,) = pg.refresh("stripe", "customers")
    assert outcome.sqlstate == "28000"
    pg.run("ROLLBACK")
    sim.clear_requests("stripe")
    (outcome,) = pg.refresh("stripe", "customers")
    assert (outcome.sqlstate, outcome.calls) == ("28000", 0), outcome
    assert sim.requests("stripe") == []
    assert pg.rows("SELECT * FROM cloudsync.runs WHERE server = 'stripe' AND sqlstate = '28000'")


@pytest.mark.proves("P7", "A03")
@pytest.mark.parametrize("end", ["rollback", "cancel", "terminate"])
def test_a_rotated_refresh_token_survives_however_the_transaction_ends(end, pg, db, sim, apps):
    sim.seed("salesforce", accounts=50)
    sim.config("salesforce", rotate_refresh_tokens=True)
    apps.server(pg, "salesforce")
    other = db.session()
    if end == "rollback":
        pg.run("BEGIN")
        pg.refresh_one("salesforce", "accounts")
        pg.run("ROLLBACK")
    else:
        with sim.gate("salesforce", path_prefix="/services/data") as gate:
            run = pg.background("SELECT * FROM cloudsync_refresh('salesforce', 'accounts')")
            gate.wait()
            other.rows(f"SELECT pg_{'cancel' if end == 'cancel' else 'terminate'}_backend(%s)", pg.pid)
            run.finish()
    # Every access token dies: only the rotated refresh token can help.
    sim.fault("salesforce", "status", {"path_prefix": "/services/data"}, status=401, body=[{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])
    assert other.refresh_one("salesforce", "accounts").inserted == 50
    apps.assert_like_ledger(other, "salesforce", "accounts")


@pytest.mark.proves("A02", "P7")
def test_two_sessions_that_need_a_token_at_once_make_one_token_call(pg, db, sim, apps):
    sim.seed("salesforce", accounts=20, leads=20)
    sim.config("salesforce", rotate_refresh_tokens=True)
    apps.connect(pg, "salesforce", ["accounts", "leads"])
    with db.cluster.connect(db.name) as connection:
        connection.execute("DELETE FROM cloudsync.access_tokens")
    sim.clear_requests("salesforce")
    one, two = db.session(), db.session()
    with sim.gate("salesforce", path_prefix="/services/oauth2") as gate:
        first = one.background("SELECT * FROM cloudsync_refresh('salesforce', 'accounts')")
        gate.wait()
        second = two.background("SELECT * FROM cloudsync_refresh('salesforce', 'leads')")
        poll(
            lambda: pg.value("SELECT wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = %s AND state = 'active'", two.pid)
            if pg.rows("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'", two.pid)
            else True,
            "the second session waits",
        )
        gate.release()
        outcomes = [first.rows()[0], second.rows()[0]]
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"], [outcome.message for outcome in outcomes]
    assert len(sim.requests("salesforce", path="/oauth2/token")) == 1


@pytest.mark.proves("A04")
def test_a_new_credential_is_used_at_once_by_a_session_that_is_already_there(pg, db, sim, apps):
    sim.seed("stripe", customers=3)
    apps.server(pg, "stripe")
    pg.refresh_one("stripe", "customers")
    sim.config("stripe", api_key="sk_test_second")
    db.session().rows("SELECT cloudsync_set_credential('stripe', 'api_key', %s)", "sk_test_second")
    pg.refresh_one("stripe", "customers")
    pg.run("DROP USER MAPPING FOR CURRENT_USER SERVER stripe")
    with pg.fails("HV00J", "42704"):
        pg.refresh("stripe", "customers")


@pytest.mark.proves("D6")
def test_readers_see_the_marks_of_a_reconcile_all_at_once(stripe, db, sim, apps):
    stripe.refresh_one("stripe", "customers")
    for key in sim.ids("stripe", "customers")[::10]:
        sim.remove("stripe", "customers", key)
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=2) as gate:
        run = stripe.background("SELECT * FROM cloudsync_reconcile('stripe', 'customers')")
        gate.wait()
        assert other.value("SELECT count(*) FROM stripe.customers WHERE is_deleted") == 0
        gate.release()
        assert run.rows()[0].deleted == 55
    assert other.value("SELECT count(*) FROM stripe.customers WHERE is_deleted") == 55
