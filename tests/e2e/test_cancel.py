"""A statement ends when it is told to, whatever the app does, and leaves nothing behind."""

import os
import signal
import time

import pytest

from session import poll

# What runs, and where the app holds its request.
STATEMENTS = {
    "refresh": "SELECT * FROM cloudsync_refresh('stripe', 'customers')",
    "live scan": "SELECT * FROM stripe_live.customers",
    "sync": "CALL cloudsync_sync('stripe', ARRAY['customers'])",
    "reconcile": "SELECT * FROM cloudsync_reconcile('stripe', 'customers')",
    "check": "SELECT * FROM cloudsync_check('stripe')",
}
PHASES = {
    "the token": {"path_prefix": "/services/oauth2"},
    "the description": {"contains": "/describe"},
    "the first page": {"contains": "FROM Account"},
    "a later page": {"path_prefix": "/services/data", "contains": "query", "skip": 1},
}


@pytest.fixture
def stripe(pg, sim, apps):
    sim.seed("stripe", customers=150)
    apps.connect(pg, "stripe", ["customers"])
    return pg


def threads_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def sockets_of(pid):
    found = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
        except OSError:
            pass
    return found


def assert_nothing_is_left(session):
    """No lock of the session outlives its statement."""
    locks = session.rows(
        "SELECT locktype, mode, relation::regclass FROM pg_locks WHERE pid = pg_backend_pid() "
        "AND locktype NOT IN ('virtualxid') AND relation IS DISTINCT FROM 'pg_locks'::regclass"
    )
    assert locks == []


@pytest.mark.proves("P1", "K02")
@pytest.mark.parametrize("what", STATEMENTS)
def test_a_statement_timeout_ends_a_statement_that_waits_for_the_app(what, stripe, sim):
    if what == "reconcile":
        stripe.refresh_one("stripe", "customers")
    threads = sockets = None
    for attempt in range(3):
        with sim.gate("stripe") as gate:
            stripe.run("SET statement_timeout = '300ms'")
            with stripe.fails("57014") as failure:
                stripe.rows(STATEMENTS[what])
            stripe.run("RESET statement_timeout")
            assert 0.25 <= failure.seconds <= 0.4, f"ended after {failure.seconds:.3f} s"
            gate.wait_gone()
        assert_nothing_is_left(stripe)
        if attempt == 0:
            threads, sockets = threads_of(stripe.pid), sockets_of(stripe.pid)
    assert threads_of(stripe.pid) <= threads
    assert sockets_of(stripe.pid) <= sockets
    stripe.refresh_one("stripe", "customers")


@pytest.mark.proves("P1", "K02")
@pytest.mark.parametrize("phase", PHASES)
def test_a_refresh_can_be_cancelled_while_it_waits_for(phase, pg, sim, apps):
    sim.seed("salesforce", accounts=450)
    sim.config("salesforce", page_size=200)
    apps.server(pg, "salesforce")
    with sim.gate("salesforce", **PHASES[phase]) as gate:
        pg.run("SET statement_timeout = '300ms'")
        with pg.fails("57014") as failure:
            pg.rows("SELECT * FROM cloudsync_refresh('salesforce', 'accounts')")
        assert 0.25 <= failure.seconds <= 0.4, f"ended after {failure.seconds:.3f} s"
        if phase != "the token":
            gate.wait_gone()
        # A token exchange goes on without us: its answer may hold a refresh token that must not be lost.
    pg.run("RESET statement_timeout")
    assert_nothing_is_left(pg)
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("P1")
def test_a_reply_that_stops_half_way_can_be_cancelled(stripe, sim):
    sim.fault("stripe", "hang_body", {"path_prefix": "/v1/customers"})
    stripe.run("SET statement_timeout = '300ms'")
    with stripe.fails("57014") as failure:
        stripe.rows(STATEMENTS["refresh"])
    assert failure.seconds <= 0.4, f"ended after {failure.seconds:.3f} s"


@pytest.mark.proves("P1", "H05")
def test_a_wait_between_two_tries_can_be_cancelled(stripe, sim):
    sim.fault("stripe", "status", {"path_prefix": "/v1/customers"}, times=0, status=503, headers={"Retry-After": "30"})
    stripe.run("SET statement_timeout = '300ms'")
    with stripe.fails("57014") as failure:
        stripe.rows(STATEMENTS["refresh"])
    assert failure.seconds <= 0.4, f"ended after {failure.seconds:.3f} s"


@pytest.mark.proves("P1")
def test_cancels_take_milliseconds(stripe, db, sim):
    other = db.session()
    waits = []
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        for count in range(1, 21):
            run = stripe.background(STATEMENTS["refresh"])
            gate.wait()
            started = time.monotonic()
            other.rows("SELECT pg_cancel_backend(%s)", stripe.pid)
            run.finish()
            waits.append(run.ended - started)
            assert run.error.sqlstate == "57014"
            gate.wait_gone(count)
    assert sorted(waits)[18] < 0.05 and max(waits) < 0.1, f"{[round(w * 1000) for w in waits]} ms"


@pytest.mark.proves("P1", "K02")
def test_a_terminated_backend_is_gone_within_a_second(stripe, db, sim):
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        run = stripe.background(STATEMENTS["refresh"])
        gate.wait()
        started = time.monotonic()
        other.rows("SELECT pg_terminate_backend(%s)", stripe.pid)
        poll(lambda: not os.path.exists(f"/proc/{stripe.pid}"), "the backend is gone", 5)
        assert time.monotonic() - started < 1
        run.finish()
        gate.wait_gone()
    assert other.value("SELECT count(*) FROM pg_locks WHERE pid = %s", stripe.pid) == 0
    other.refresh_one("stripe", "customers")


@pytest.mark.proves("P1", "K02")
def test_a_client_that_leaves_ends_its_statement(stripe, db, sim):
    backend = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaving'"
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        client = db.cluster.start_psql(
            db.name, STATEMENTS["refresh"], application_name="leaving", options="-c client_connection_check_interval=50ms"
        )
        gate.wait()
        assert stripe.value(backend) == 1
        # A client that is killed sends no goodbye: its socket just closes.
        client.kill()
        client.wait()
        gate.wait_gone()
    poll(lambda: stripe.value(backend) == 0, "the backend is gone")


@pytest.mark.proves("P1")
def test_a_fast_shutdown_takes_less_than_a_second(own_cluster, sim, apps):
    from session import Session

    server = own_cluster()
    sim.seed("stripe", customers=150)
    session = Session(server.connect("test"))
    apps.connect(session, "stripe", ["customers"])
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        run = session.background(STATEMENTS["refresh"])
        gate.wait()
        # What the checkpoint at the end has to write is not what is measured.
        with server.connect("test") as connection:
            connection.execute("CHECKPOINT")
        assert server.stop() < 1
        run.finish()
    assert run.error is not None


@pytest.mark.proves("K02", "P5")
def test_a_cancelled_sync_is_reported_and_goes_on_later(stripe, db, sim, apps):
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=1) as gate:
        run = stripe.background(STATEMENTS["sync"])
        gate.wait()
        other.rows("SELECT pg_cancel_backend(%s)", stripe.pid)
        assert run.finish().error.sqlstate == "57014"
    stripe.rows(STATEMENTS["sync"])
    apps.assert_like_ledger(stripe, "stripe", "customers")


@pytest.mark.proves("P9")
def test_waiting_for_the_app_in_a_sync_holds_no_snapshot(stripe, db, sim):
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=1) as gate:
        run = stripe.background(STATEMENTS["sync"])
        gate.wait()
        activity = poll(
            lambda: other.rows(
                "SELECT backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = %s AND wait_event IS NOT NULL", stripe.pid
            ),
            "the sync waits",
        )
        poll(
            lambda: other.rows(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND backend_xid IS NULL AND backend_xmin IS NULL", stripe.pid
            ),
            f"no transaction id and no snapshot while waiting: {activity}",
            5,
        )
        gate.release()
        run.rows()


@pytest.mark.proves("P9", "T04")
def test_a_lock_on_the_local_table_delays_only_as_long_as_allowed(stripe, db, sim):
    stripe.refresh_one("stripe", "customers")
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "Changed"})
    blocker = db.session()
    blocker.run("BEGIN", "LOCK TABLE stripe.customers IN ACCESS EXCLUSIVE MODE")
    stripe.run("SET lock_timeout = '200ms'")
    outcome = None
    try:
        (outcome,) = stripe.refresh("stripe", "customers")
    except Exception as error:  # an ERROR is right too; a hang is not
        assert getattr(error, "sqlstate", None) == "55P03", error
    if outcome is not None:
        assert (outcome.status, outcome.sqlstate) == ("failed", "55P03"), outcome
    blocker.run("ROLLBACK")
    stripe.run("RESET lock_timeout")
    assert stripe.refresh_one("stripe", "customers").updated == 1


@pytest.mark.proves("P1", "P2")
def test_signals_never_reach_the_thread_that_talks_to_the_app(stripe, sim):
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        run = stripe.background(STATEMENTS["refresh"])
        gate.wait()
        blocked = {}
        for task in os.listdir(f"/proc/{stripe.pid}/task"):
            with open(f"/proc/{stripe.pid}/task/{task}/status", encoding="ascii") as status:
                blocked[int(task)] = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
        gate.release()
        run.rows()
    assert len(blocked) > 1, "no thread of its own"
    for task, mask in blocked.items():
        if task != stripe.pid:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGALRM, signal.SIGQUIT):
                assert mask & (1 << (number - 1)), f"thread {task} takes signal {number}"
