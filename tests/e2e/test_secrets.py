"""A secret is seen in its user mapping and nowhere else."""

import pytest

from apps import SECRETS

CANARIES = {"client_id": "id-canary-7f3a", "client_secret": "secret-canary-91bd", "refresh_token": "refresh-canary-c0de"}


def shown_anywhere(texts, words):
    return [(word, text[:200]) for text in texts for word in words if word in text]


def all_text_of(session, query):
    return [" | ".join(map(str, row)) for row in session.rows(query)]


@pytest.mark.proves("S1")
def test_no_secret_is_in_errors_views_plans_or_the_log(pg, db, sim, apps, cluster):
    start = len(cluster.log_text())
    sim.config("salesforce", client_id=CANARIES["client_id"], client_secret=CANARIES["client_secret"], refresh_token=CANARIES["refresh_token"])
    sim.config("stripe", api_key="sk_canary_5e5e")
    sim.seed("salesforce", accounts=5)
    sim.seed("stripe", customers=5)
    words = [*list(CANARIES.values())[1:], "sk_canary_5e5e", "canary-91", "canary-c0", "canary_5e"]
    pg.run("SET log_min_messages = debug2")
    apps.server(pg, "salesforce", credentials=CANARIES)
    apps.server(pg, "stripe", credentials={"api_key": "sk_canary_5e5e"}, max_tries="1")
    seen = []
    # What goes well, and what goes wrong in every way that talks of a request.
    pg.refresh("salesforce", "accounts")
    pg.refresh("stripe", "customers")
    for kind, more in [
        ("status", {"status": 401}),
        ("status", {"status": 403}),
        ("status", {"status": 400, "body": {"error": {"message": "Invalid API Key provided: sk_canary_5e5e"}}}),
        ("html", {}),
        ("reset_before", {}),
        ("truncate", {}),
        ("redirect", {"location": "http://127.0.0.1:9/"}),
    ]:
        sim.fault("stripe", kind, {}, times=1, **more)
        seen += [str(outcome) for outcome in pg.refresh("stripe", "customers")]
        try:
            pg.rows("SELECT * FROM stripe_live.customers")
        except Exception as error:
            seen.append(f"{error} {error.diag.message_detail} {error.diag.message_hint} {error.diag.context}")
        sim.clear_faults("stripe")
        pg.rows("SELECT cloudsync_reset('stripe', 'customers')")
        pg.run("ALTER USER MAPPING FOR CURRENT_USER SERVER stripe OPTIONS (SET api_key 'other')", "ALTER USER MAPPING FOR CURRENT_USER SERVER stripe OPTIONS (SET api_key 'sk_canary_5e5e')", "DELETE FROM cloudsync.server_state")
    seen.append(pg.explain("SELECT * FROM stripe_live.customers", "ANALYZE"))
    seen.append(pg.explain("SELECT * FROM salesforce_live.accounts", "ANALYZE"))
    for view in ("status", "runs", "api_usage", "sources", "collections", "collection_state", "server_state", "run_log"):
        seen += all_text_of(pg, f"SELECT * FROM cloudsync.{view}")
    seen += [n.message_primary + str(n.message_detail) + str(n.message_hint) for n in pg.notices]
    assert shown_anywhere(seen, words) == []
    # Statements that set options are the test's own; a debug log repeats none of them either.
    log = cluster.log_text()[start:]
    lines = [line for line in log.splitlines() if "USER MAPPING" not in line and "StartTransaction" not in line]
    assert shown_anywhere(lines, words) == []


@pytest.mark.proves("S1")
def test_a_credential_can_be_set_without_a_copy_in_the_statement_log(pg, sim, apps, cluster):
    apps.server(pg, "stripe", credentials={"api_key": "old"})
    start = len(cluster.log_text())
    pg.run("SET log_statement = 'all'", "SET log_parameter_max_length = 0")
    pg.rows("SELECT cloudsync_set_credential('stripe', 'api_key', %s)", "sk_test_sim")
    pg.run("RESET log_statement")
    assert "sk_test_sim" not in cluster.log_text()[start:]
    assert "cloudsync_set_credential" in cluster.log_text()[start:]
    sim.seed("stripe", customers=1)
    pg.refresh_one("stripe", "customers")


@pytest.mark.proves("S1", "S2")
def test_an_unknown_credential_is_refused_without_its_value(pg, apps):
    apps.server(pg, "stripe")
    with pg.fails("HV00D") as failure:
        pg.rows("SELECT cloudsync_set_credential('stripe', 'api_kee', %s)", "canary")
    assert "api_key" in failure.text and "canary" not in failure.text


@pytest.mark.proves("S1")
def test_a_waiting_statement_shows_no_secret_to_others(pg, db, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.server(pg, "salesforce")
    other = db.session()
    with sim.gate("salesforce", path_prefix="/services/data") as gate:
        run = pg.background("SELECT * FROM cloudsync_refresh('salesforce', 'accounts')")
        gate.wait()
        texts = all_text_of(other, "SELECT * FROM pg_stat_activity")
        gate.release()
        run.rows()
    assert shown_anywhere(texts, SECRETS) == []


@pytest.mark.proves("S1", "S3")
def test_access_tokens_and_credentials_are_hidden_from_other_roles(pg, db, sim, apps):
    sim.seed("salesforce", accounts=2)
    apps.server(pg, "salesforce")
    pg.refresh_one("salesforce", "accounts")
    role = f"curious_{db.name}"
    pg.run(f"CREATE ROLE {role} LOGIN")
    try:
        curious = db.session(user=role)
        with curious.fails("42501"):
            curious.rows("SELECT * FROM cloudsync.access_tokens")
        texts = all_text_of(curious, "SELECT * FROM pg_user_mappings")
        assert shown_anywhere(texts, SECRETS) == []
        curious.close()
    finally:
        pg.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.proves("S1", "L01")
def test_a_dump_holds_secrets_only_in_user_mappings(pg, db, sim, apps):
    sim.seed("salesforce", accounts=2)
    apps.server(pg, "salesforce")
    pg.refresh_one("salesforce", "accounts")
    token = pg.value("SELECT token FROM cloudsync.access_tokens")
    dump = db.cluster.command("pg_dump", "-h", db.cluster.sockets, "-p", 5432, "-U", "postgres", db.name)
    assert token not in dump
    inside = False
    for line in dump.splitlines():
        inside = (inside or line.startswith("CREATE USER MAPPING")) and not line.startswith(");")
        if not inside:
            assert shown_anywhere([line], SECRETS) == []
