"""What runs out, and what is bounded: memory, temporary files, worker slots, names."""

import pytest

from session import Session, poll


def peak_kilobytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.proves("P4")
def test_memory_does_not_grow_with_the_collection(pg, db, sim, apps):
    peaks = []
    for size in (2_000, 20_000):
        sim.reset()
        sim.seed("salesforce", accounts=size)
        pg.run(f"DROP SERVER IF EXISTS sf{size} CASCADE")
        apps.server(pg, "salesforce", name=f"sf{size}")
        session = db.session()
        session.rows("SELECT 1")
        idle = peak_kilobytes(session.pid)
        (outcome,) = session.refresh(f"sf{size}", "accounts")
        assert (outcome.status, outcome.inserted) == ("ok", size), outcome
        peaks.append(peak_kilobytes(session.pid) - idle)
    # Shared buffers that a backend has touched count as its own: those are bounded too, by their setting.
    shared = 128 * 1024
    assert peaks[1] < 64 * 1024 + shared, f"{peaks} kB above an idle backend"


@pytest.mark.slow
@pytest.mark.proves("P4")
def test_memory_of_a_live_scan_does_not_grow_with_the_collection(pg, db, sim, apps):
    sim.seed("salesforce", accounts=20_000)
    apps.connect(pg, "salesforce", ["accounts"])
    session = db.session()
    session.rows("SELECT 1")
    idle = peak_kilobytes(session.pid)
    assert session.value("SELECT count(*) FROM (SELECT * FROM salesforce_live.accounts OFFSET 0) a") == 20_000
    above = peak_kilobytes(session.pid) - idle
    assert above < 64 * 1024, f"{above} kB above an idle backend"


@pytest.mark.proves("K03", "D1")
def test_no_room_for_temporary_files_is_an_error_that_passes(pg, sim, apps):
    sim.seed("salesforce", accounts=2_000)
    apps.server(pg, "salesforce")
    pg.run("SET work_mem = '64kB'", "SET temp_file_limit = '0'")
    code = None
    try:
        (outcome,) = pg.refresh("salesforce", "accounts")
        code = outcome.sqlstate
    except Exception as error:
        code = error.sqlstate
    assert code in (None, "53400"), code
    pg.run("RESET work_mem", "RESET temp_file_limit")
    pg.refresh("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("K03", "P5", "P7")
def test_without_a_free_worker_slot_nothing_is_lost(own_cluster, sim, apps):
    # The launchers of logical replication and pg_cron take the two there are.
    server = own_cluster(max_worker_processes="2")
    session = Session(server.connect("test"))
    sim.seed("salesforce", accounts=30)
    sim.config("salesforce", rotate_refresh_tokens=True)
    apps.server(session, "salesforce")
    code = None
    try:
        (outcome,) = session.refresh("salesforce", "accounts")
        code = outcome.sqlstate
    except Exception as error:
        code = error.sqlstate
    assert code is None or code.startswith("53"), code
    session.close()
    server.stop()
    with open(server.data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("max_worker_processes = 8\n")
    server.start()
    session = Session(server.connect("test"))
    session.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(session, "salesforce", "accounts")


@pytest.mark.proves("E03", "C08")
def test_field_names_that_collide_or_are_reserved_get_columns_of_their_own(pg, sim, apps):
    names = ["Foo_Bar__c", "FooBar__c", "FOOBAR__c2__c", "Select__c", "Table__c", "Extra__c", "Is_Deleted__c", "Received_At__c"]
    sim.post("/salesforce/objects/Account", {"fields": [{"name": n, "type": "string", "length": 80} for n in names]})
    record = {"Name": "Many names", **{name: f"value of {name}" for name in names}}
    apps.server(pg, "salesforce")
    sim.create("salesforce", "accounts", record)
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")
    row = pg.value("SELECT to_jsonb(a) FROM salesforce.accounts a")
    assert {f"value of {name}" for name in names} <= {v for v in row.values() if isinstance(v, str)}


@pytest.mark.proves("E03", "D9")
def test_long_texts_and_wide_jsonb_survive(pg, sim, apps):
    apps.server(pg, "stripe")
    metadata = {f"key_{n}": "é" * 400 for n in range(40)}
    sim.create("stripe", "customers", {"name": "L" * 5000, "description": "\t\"quoted\" \\ back\nnew line \U0001f40d", "metadata": metadata})
    pg.refresh_one("stripe", "customers")
    apps.assert_like_ledger(pg, "stripe", "customers")


@pytest.mark.proves("K04")
def test_servers_sync_side_by_side(pg, db, sim, apps):
    sim.seed("stripe", customers=120)
    sim.seed("salesforce", accounts=300)
    apps.connect(pg, "stripe", ["customers"])
    apps.connect(pg, "salesforce", ["accounts"])
    one, two = db.session(), db.session()
    with sim.gate("stripe") as gate:
        waiting = one.background("CALL cloudsync_sync('stripe')")
        gate.wait()
        two.rows("CALL cloudsync_sync('salesforce')")
        assert waiting.is_running
        gate.release()
        waiting.rows()
    apps.assert_like_ledger(pg, "stripe", "customers")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


STRIPE_PER_SECOND = 25


def assert_paced(requests, per_second):
    """No second sees more requests than the app allows, and nearly all of them are used; returns how many there were."""
    starts = sorted(r["at_ms"] for r in requests)
    # The simulator notes a request when it has read it: on a busy machine that is some milliseconds after it was sent.
    windows = [later - earlier for earlier, later in zip(starts, starts[per_second:])]
    assert min(windows) >= 950, f"{per_second + 1} requests within {min(windows)} ms"
    used = (len(starts) - 1) * 1000 / (starts[-1] - starts[0]) / per_second
    assert used >= 0.95, f"{used:.1%} of the allowance was used"
    return len(starts)


@pytest.mark.slow
@pytest.mark.proves("H06", "K04")
def test_sessions_share_the_pace_of_a_server(pg, db, sim, apps):
    sim.seed("stripe", customers=6_000, charges=6_000)
    sim.config("stripe", rate_per_second=STRIPE_PER_SECOND)
    apps.connect(pg, "stripe", ["customers", "charges"])
    sessions = [db.session(), db.session()]
    runs = [
        session.background(f"CALL cloudsync_sync('stripe', ARRAY['{collection}'])")
        for session, collection in zip(sessions, ("customers", "charges"))
    ]
    for run in runs:
        run.rows(seconds=60)
    requests = sim.requests("stripe")
    assert [r["path"] for r in requests if r["status"] == 429] == []
    first_half = requests[: len(requests) // 2]
    shares = [len([r for r in first_half if r["path"] == f"/v1/{name}"]) for name in ("customers", "charges")]
    assert min(shares) >= len(first_half) // 4, f"one session waits for the other: {shares}"
    assert assert_paced(requests, STRIPE_PER_SECOND) >= 120
    for collection in ("customers", "charges"):
        apps.assert_like_ledger(pg, "stripe", collection)


@pytest.mark.slow
@pytest.mark.proves("H06")
def test_a_thousand_pages_use_the_allowance_and_none_is_refused(pg, sim, apps):
    sim.seed("stripe", customers=10_000)
    sim.config("stripe", rate_per_second=STRIPE_PER_SECOND, page_size=10)
    apps.server(pg, "stripe")
    pg.rows("CALL cloudsync_sync('stripe', ARRAY['customers'])")
    requests = sim.requests("stripe")
    assert [r["path"] for r in requests if r["status"] == 429] == []
    assert assert_paced(requests, STRIPE_PER_SECOND) >= 1_000


@pytest.mark.proves("H06")
def test_without_the_shared_file_each_session_paces_alone(own_cluster, sim, apps):
    """Something else lies where the file should be."""
    server = own_cluster()
    (server.data / "pg_stat_tmp/cloudsync_pace").mkdir()
    session = Session(server.connect("test"))
    sim.seed("stripe", customers=5_000)
    sim.config("stripe", rate_per_second=STRIPE_PER_SECOND)
    apps.server(session, "stripe")
    session.refresh_one("stripe", "customers")
    assert [r for r in sim.requests("stripe") if r["status"] == 429] == []
    assert_paced(sim.requests("stripe"), STRIPE_PER_SECOND)


@pytest.mark.proves("K01")
def test_a_killed_session_leaves_the_shared_pace_usable(own_cluster, sim, apps):
    server = own_cluster()
    session = Session(server.connect("test"))
    sim.seed("stripe", customers=2_000)
    apps.server(session, "stripe")
    run = session.background("CALL cloudsync_sync('stripe', ARRAY['customers'])")
    poll(lambda: len(sim.requests("stripe")) >= 5, "some pages were asked for")
    server.kill_backend(session.pid)
    run.finish()
    pace = server.data / "pg_stat_tmp/cloudsync_pace"
    assert pace.stat().st_mode & 0o777 == 0o600
    session = Session(server.connect("test"))
    session.rows("CALL cloudsync_sync('stripe', ARRAY['customers'])")
    apps.assert_like_ledger(session, "stripe", "customers")
