"""Bad input gets its SQLSTATE, a message and a hint, and nothing half done."""

import pytest


def said(failure, *words):
    assert failure.hint, f"no hint: {failure.text}"
    for word in words:
        assert word in failure.text, f"{word!r} is not in: {failure.text}"


def test_an_unknown_source_is_refused_with_the_list(pg):
    with pg.fails("42704") as failure:
        pg.run("CREATE SERVER x FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'salesfarce')")
    said(failure, "salesfarce", "salesforce", "stripe")


def test_a_server_without_a_source_is_refused(pg):
    with pg.fails("HV00J") as failure:
        pg.run("CREATE SERVER x FOREIGN DATA WRAPPER cloudsync")
    said(failure, "source")


@pytest.mark.proves("S2")
def test_an_unknown_server_option_is_refused_with_the_list(pg):
    with pg.fails("HV00D") as failure:
        pg.run("CREATE SERVER x FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'stripe', read_timeout '5')")
    said(failure, "read_timeout", "read_timeout_ms")


@pytest.mark.proves("S1", "S2")
def test_a_secret_in_a_server_option_is_refused_by_name_only(pg):
    with pg.fails("HV00D") as failure:
        pg.run("CREATE SERVER x FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'stripe', api_key 'sk_live_canary')")
    said(failure, "api_key", "user mapping")
    assert "canary" not in failure.text


@pytest.mark.proves("S2")
def test_an_unknown_credential_is_refused_with_the_list(pg, apps):
    pg.run("CREATE SERVER x FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'stripe')")
    with pg.fails("HV00D") as failure:
        pg.run("CREATE USER MAPPING FOR CURRENT_USER SERVER x OPTIONS (apikey 'sk_live_canary')")
    said(failure, "apikey", "api_key")
    assert "canary" not in failure.text


@pytest.mark.parametrize(
    "option, value",
    [("max_tries", "many"), ("max_tries", "0"), ("connect_timeout_ms", "-1"), ("schema_changes", "maybe"), ("quota_reserve_percent", "101")],
)
def test_a_value_an_option_cannot_have_is_refused(option, value, pg):
    with pg.fails("HV024") as failure:
        pg.run(f"CREATE SERVER x FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'stripe', {option} '{value}')")
    said(failure, option)


def test_an_unknown_table_or_column_option_is_refused_with_the_list(pg, apps):
    apps.server(pg, "stripe")
    with pg.fails("HV00D") as failure:
        pg.run("CREATE FOREIGN TABLE t (id text) SERVER stripe OPTIONS (resource 'customers')")
    said(failure, "resource", "collection")
    with pg.fails("HV00D") as failure:
        pg.run("CREATE FOREIGN TABLE t (id text OPTIONS (path 'id')) SERVER stripe OPTIONS (collection 'customers')")
    said(failure, "path", "field")


CALLS = {
    "refresh": "SELECT * FROM cloudsync_refresh({0})",
    "check": "SELECT * FROM cloudsync_check({0})",
    "sync": "CALL cloudsync_sync({0})",
    "schedule": "SELECT cloudsync_schedule({0}, '0 3 * * *')",
    "unschedule": "SELECT cloudsync_unschedule({0})",
    "reset": "SELECT cloudsync_reset({0}, 'customers')",
    "reconcile": "SELECT * FROM cloudsync_reconcile({0}, 'customers')",
    "disconnect": "SELECT cloudsync_disconnect({0})",
    "set_credential": "SELECT cloudsync_set_credential({0}, 'api_key', 'canary')",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_does_not_exist_is_an_error(call, pg):
    with pg.fails("42704") as failure:
        pg.rows(CALLS[call].format("'nowhere'"))
    said(failure, "nowhere")
    assert "canary" not in failure.text


@pytest.mark.parametrize("call", CALLS)
def test_a_server_of_another_wrapper_is_an_error(call, pg):
    pg.run("CREATE FOREIGN DATA WRAPPER other", "CREATE SERVER elsewhere FOREIGN DATA WRAPPER other")
    with pg.fails("42809") as failure:
        pg.rows(CALLS[call].format("'elsewhere'"))
    said(failure, "elsewhere")


def test_an_unknown_collection_is_an_error_that_makes_no_call(pg, sim, apps):
    apps.server(pg, "stripe")
    with pg.fails("42704") as failure:
        pg.refresh("stripe", "customer")
    said(failure, "customers")
    with pg.fails("42704"):
        pg.rows("CALL cloudsync_sync('stripe', ARRAY['customers', 'nonsense'])")
    with pg.fails("42704"):
        pg.rows("SELECT cloudsync_reset('stripe', 'nonsense')")
    with pg.fails("42704"):
        pg.run("CREATE SCHEMA s", "IMPORT FOREIGN SCHEMA stripe LIMIT TO (customer) FROM SERVER stripe INTO s")
    assert sim.requests("stripe") == []


def test_a_missing_user_mapping_is_named(pg, sim, apps):
    pg.run(f"CREATE SERVER stripe FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'stripe', base_url '{sim.url('stripe')}')")
    with pg.fails("HV00J", "42704") as failure:
        pg.refresh("stripe", "customers")
    said(failure, "USER MAPPING", "api_key")
    assert sim.requests("stripe") == []


def test_a_missing_credential_is_named(pg, sim, apps):
    apps.server(pg, "salesforce", credentials={"client_id": "sim-client"})
    code = message = hint = None
    try:
        (outcome,) = pg.refresh("salesforce", "accounts")
        code, message, hint = outcome.sqlstate, outcome.message, outcome.hint
    except Exception as error:
        code, message, hint = error.sqlstate, error.diag.message_primary, error.diag.message_hint
    assert code == "HV00J"
    assert "client_secret" in message + hint or "refresh_token" in message + hint
    assert sim.requests("salesforce") == []


def test_null_arguments_are_harmless(pg):
    for statement in (
        "SELECT * FROM cloudsync_refresh(NULL)",
        "SELECT * FROM cloudsync_check(NULL)",
        "SELECT cloudsync_reset(NULL, NULL)",
        "SELECT * FROM cloudsync_connect(NULL, NULL)",
        "SELECT cloudsync_set_credential(NULL, NULL, NULL)",
    ):
        try:
            pg.rows(statement)
        except Exception as error:
            assert error.sqlstate in ("22004", "42704", "22023"), f"{statement}: {error.sqlstate} {error}"


def test_a_sync_inside_a_transaction_block_is_refused_with_the_alternative(pg, sim, apps):
    apps.server(pg, "stripe")
    pg.run("BEGIN")
    with pg.fails("2D000", "25001") as failure:
        pg.rows("CALL cloudsync_sync('stripe')")
    said(failure, "cloudsync_refresh")
    pg.run("ROLLBACK")
    assert sim.requests("stripe") == []


@pytest.mark.proves("R01", "P6")
def test_a_read_only_transaction_is_refused_before_any_call(pg, sim, apps):
    apps.connect(pg, "stripe", ["customers"])
    sim.clear_requests("stripe")
    pg.run("SET default_transaction_read_only = on")
    for statement in (
        "SELECT * FROM cloudsync_refresh('stripe', 'customers')",
        "SELECT * FROM cloudsync_reconcile('stripe', 'customers')",
        "CALL cloudsync_sync('stripe')",
    ):
        with pg.fails("25006"):
            pg.rows(statement)
    assert sim.requests("stripe") == []


@pytest.mark.proves("K04", "P6")
def test_a_second_refresh_of_the_same_collection_returns_at_once(pg, db, sim, apps):
    sim.seed("stripe", customers=20)
    apps.connect(pg, "stripe", ["customers"])
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers") as gate:
        run = pg.background("SELECT * FROM cloudsync_refresh('stripe', 'customers')")
        gate.wait()
        sim.clear_requests("stripe")
        (outcome,) = other.refresh("stripe", "customers")
        assert (outcome.status, outcome.sqlstate, outcome.calls) == ("skipped", "55006", 0), outcome
        assert sim.requests("stripe") == []
        gate.release()
        assert run.rows()[0].status == "ok"


@pytest.mark.proves("T02")
def test_a_view_in_the_place_of_the_local_table_is_not_written_to(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("DROP TABLE stripe.customers", "CREATE VIEW stripe.customers AS SELECT 'cus_x'::text AS id")
    (outcome,) = pg.refresh("stripe", "customers")
    assert (outcome.status, outcome.sqlstate) == ("failed", "42809"), outcome
    assert "stripe.customers" in outcome.message and outcome.hint


@pytest.mark.proves("T02")
def test_a_look_alike_table_without_the_key_is_not_written_to(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.server(pg, "stripe")
    pg.run("CREATE SCHEMA stripe", "CREATE TABLE stripe.customers (id text, name text)")
    (outcome,) = pg.refresh("stripe", "customers")
    assert outcome.status == "failed", outcome
    assert outcome.sqlstate in ("42P10", "42P16", "42704", "55000", "42830", "42809"), outcome
    assert outcome.hint
    assert pg.value("SELECT count(*) FROM stripe.customers") == 0


@pytest.mark.proves("T01", "T02")
def test_a_column_of_a_type_that_does_not_fit_is_named(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.server(pg, "stripe")
    pg.run("CREATE SCHEMA stripe", "CREATE TABLE stripe.customers (id text PRIMARY KEY, created integer)")
    (outcome,) = pg.refresh("stripe", "customers")
    if outcome.status == "failed":
        assert outcome.sqlstate in ("42804", "HV004"), outcome
        assert "created" in outcome.message and outcome.hint, outcome
    else:
        # Or every value is kept in its raw form, and said so.
        assert pg.value("SELECT count(*) FROM stripe.customers WHERE extra ? 'created'") == 2


@pytest.mark.proves("T02")
def test_a_dropped_local_table_is_made_again_with_everything_in_it(pg, sim, apps):
    sim.seed("stripe", customers=25)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("DROP TABLE stripe.customers")
    outcome = pg.refresh_one("stripe", "customers")
    assert outcome.mode == "full", outcome
    apps.assert_like_ledger(pg, "stripe", "customers")


@pytest.mark.proves("P6")
def test_a_standby_refuses_before_any_call(own_cluster, sim, apps):
    from session import Session

    server = own_cluster()
    session = Session(server.connect("test"))
    apps.connect(session, "stripe", ["customers"])
    session.close()
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    sim.clear_requests("stripe")
    standby = Session(server.connect("test"))
    assert standby.value("SELECT pg_is_in_recovery()")
    with standby.fails("25006"):
        standby.refresh("stripe", "customers")
    with standby.fails("25006"):
        standby.rows("CALL cloudsync_sync('stripe')")
    assert sim.requests("stripe") == []
