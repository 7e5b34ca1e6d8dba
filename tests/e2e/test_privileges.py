"""Who may do what: nothing for PUBLIC, explicit grants for others, nobody more than their own rights."""

from contextlib import contextmanager

import pytest

from session import poll


@contextmanager
def role(session, db, name, attributes="LOGIN"):
    """A role of this test alone; gives its name."""
    full = f"{name}_{db.name}"
    session.run(f"CREATE ROLE {full} {attributes}")
    try:
        yield full
    finally:
        for other in db.sessions:
            if other is not session:
                other.close()
        session.run(f"DROP OWNED BY {full} CASCADE", f"DROP ROLE {full}")


@pytest.mark.proves("S3")
def test_public_may_execute_nothing_that_calls_out_or_writes(pg):
    open_to_all = pg.column(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proname LIKE 'cloudsync\\_%' AND p.prorettype <> 'fdw_handler'::regtype "
        "AND p.proname NOT IN ('cloudsync_fdw_validator', 'cloudsync_job_name', 'cloudsync_next_occurrence', 'cloudsync_list_sources', 'cloudsync_list_collections') "
        "AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')"
    )
    assert open_to_all == []


@pytest.mark.proves("S3")
def test_public_may_read_or_write_no_table_of_ours(pg):
    rows = pg.column(
        "SELECT c.relname || ' ' || a.privilege_type FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE c.relnamespace = 'cloudsync'::regnamespace AND a.grantee = 0 AND c.relname NOT IN ('sources', 'collections') "
        "AND NOT (c.relrowsecurity AND a.privilege_type = 'SELECT')"
    )
    assert rows == []


@pytest.mark.proves("S3")
def test_the_keys_of_an_open_listing_are_shown_only_to_who_may_use_the_server(pg, db, sim, apps):
    """They are the one table that PUBLIC may select from: row security gives each role its own servers."""
    sim.seed("stripe", customers=150)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("SELECT cloudsync_reset('stripe', 'customers')")
    with sim.gate("stripe", path_prefix="/v1/customers", skip=1) as gate:
        running = db.session().background("CALL cloudsync_sync('stripe')")
        gate.wait()
        with role(pg, db, "stranger") as name:
            stranger = db.session(user=name)
            poll(lambda: pg.value("SELECT count(*) FROM cloudsync.seen_keys") > 0, "a page is committed")
            assert stranger.value("SELECT count(*) FROM cloudsync.seen_keys") == 0
            # The role's end closes every other session, so the sync ends first.
            gate.release()
            running.finish()
    assert pg.value("SELECT count(*) FROM cloudsync.seen_keys") == 0


@pytest.mark.proves("S3", "P6")
def test_a_role_without_rights_is_refused_before_any_call(pg, db, sim, apps):
    sim.seed("stripe", customers=2)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    sim.clear_requests("stripe")
    with role(pg, db, "stranger") as name:
        stranger = db.session(user=name)
        for statement in (
            "SELECT * FROM cloudsync_refresh('stripe', 'customers')",
            "CALL cloudsync_sync('stripe')",
            "SELECT * FROM cloudsync_check('stripe')",
            "SELECT cloudsync_schedule('stripe', '0 3 * * *')",
            "SELECT cloudsync_set_credential('stripe', 'api_key', 'x')",
            "SELECT cloudsync_disconnect('stripe', true)",
            "SELECT * FROM cloudsync.status",
            "SELECT * FROM stripe_live.customers",
            "SELECT * FROM stripe.customers",
        ):
            with stranger.fails("42501"):
                stranger.rows(statement)
    assert sim.requests("stripe") == []


@pytest.mark.proves("S3")
def test_a_role_can_be_given_the_right_to_connect_its_own_account(pg, db, sim, apps):
    sim.seed("stripe", customers=3)
    with role(pg, db, "owner") as name:
        pg.run(
            f"GRANT USAGE ON FOREIGN DATA WRAPPER cloudsync TO {name}",
            f"GRANT CREATE ON DATABASE {db.name} TO {name}",
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema_of_functions(pg)} TO {name}",
            f"GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA {schema_of_functions(pg)} TO {name}",
        )
        owner = db.session(user=name)
        apps.server(owner, "stripe")
        owner.refresh_one("stripe", "customers")
        assert owner.value("SELECT count(*) FROM stripe.customers") == 3
        assert owner.value("SELECT tableowner FROM pg_tables WHERE schemaname = 'stripe' AND tablename = 'customers'") == name


def schema_of_functions(session):
    return session.value("SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname = 'cloudsync_refresh' LIMIT 1")


@pytest.mark.proves("S3")
def test_a_refresh_writes_with_the_rights_of_its_caller(pg, db, sim, apps):
    sim.seed("stripe", customers=3)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    sim.create("stripe", "customers", {"name": "Unwanted"})
    with role(pg, db, "caller") as name:
        schema = schema_of_functions(pg)
        pg.run(
            f"GRANT USAGE ON FOREIGN SERVER stripe TO {name}",
            f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {name}",
            f"CREATE USER MAPPING FOR {name} SERVER stripe OPTIONS (api_key 'sk_test_sim')",
        )
        caller = db.session(user=name)
        code = None
        try:
            (outcome,) = caller.refresh("stripe", "customers")
            code = outcome.sqlstate
        except Exception as error:
            code = error.sqlstate
        assert code == "42501"
        assert pg.value("SELECT count(*) FROM stripe.customers") == 3


@pytest.mark.proves("S3")
def test_a_view_over_a_live_table_uses_its_owners_credentials(pg, db, sim, apps):
    sim.seed("stripe", customers=3)
    apps.connect(pg, "stripe", ["customers"])
    pg.run("CREATE SCHEMA shop", "CREATE VIEW shop.names AS SELECT id, name FROM stripe_live.customers")
    with role(pg, db, "reader") as name:
        pg.run(f"GRANT USAGE ON SCHEMA shop TO {name}", f"GRANT SELECT ON shop.names TO {name}")
        reader = db.session(user=name)
        assert reader.value("SELECT count(*) FROM shop.names") == 3
        with reader.fails("42501"):
            reader.rows("SELECT * FROM stripe_live.customers")


@pytest.mark.proves("S4")
def test_a_hostile_search_path_changes_nothing(pg, db, sim, apps):
    sim.seed("stripe", customers=5)
    apps.connect(pg, "stripe", ["customers"])
    pg.run(
        "CREATE SCHEMA trap",
        "CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$",
        "CREATE FUNCTION trap.count(text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1/0::bigint $$",
        "CREATE FUNCTION trap.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$",
        "CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.eq)",
        "CREATE TABLE trap.pg_class (oid oid)",
        "CREATE TABLE trap.pg_attribute (attrelid oid)",
        "CREATE TABLE trap.pg_foreign_server (oid oid)",
        "SET search_path = trap, pg_catalog, public",
    )
    pg.refresh_one("stripe", "customers")
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "x"})
    assert pg.refresh_one("stripe", "customers").updated == 1
    pg.rows("CALL cloudsync_sync('stripe')")
    pg.rows("SELECT * FROM cloudsync_reconcile('stripe', 'customers')")
    pg.rows("SELECT * FROM cloudsync_check('stripe')")
    pg.rows("SELECT * FROM cloudsync.status")
    pg.rows("SELECT * FROM stripe_live.customers")
    pg.rows("SELECT cloudsync_disconnect('stripe', true)")


@pytest.mark.proves("S4")
def test_names_that_need_quotes_are_quoted(pg, sim, apps):
    sim.seed("stripe", customers=3)
    name = """My "Shop"'; DROP TABLE x; --"""
    apps.server(pg, "stripe", name=name)
    assert pg.refresh_one(name, "customers").inserted == 3
    assert pg.refresh_one(name, "customers").mode == "incremental"
    assert pg.value("SELECT count(*) FROM pg_tables WHERE schemaname = %s", name) == 1
    pg.rows("SELECT cloudsync_disconnect(%s, true)", name)


@pytest.mark.proves("T03")
def test_row_security_triggers_and_constraints_of_the_local_table_are_obeyed(pg, sim, apps):
    sim.seed("stripe", customers=5)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run(
        "CREATE TABLE seen (id text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (new.id); RETURN new; END $$",
        "CREATE TRIGGER note AFTER INSERT OR UPDATE ON stripe.customers FOR EACH ROW EXECUTE FUNCTION note()",
    )
    key = sim.ids("stripe", "customers")[0]
    sim.change("stripe", "customers", key, {"name": "Seen by a trigger"})
    pg.refresh_one("stripe", "customers")
    assert pg.column("SELECT id FROM seen") == [key]
    pg.run("ALTER TABLE stripe.customers ADD CONSTRAINT no_bad_names CHECK (name <> 'Bad')")
    sim.change("stripe", "customers", key, {"name": "Bad"})
    (outcome,) = pg.refresh("stripe", "customers")
    assert outcome.status in ("failed", "partial"), outcome
    assert outcome.sqlstate == "23514" and "no_bad_names" in outcome.message, outcome
    pg.run("ALTER TABLE stripe.customers DROP CONSTRAINT no_bad_names")
    assert pg.refresh_one("stripe", "customers").updated == 1
