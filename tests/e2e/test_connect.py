"""From CREATE EXTENSION to tables: the standard way, the one call, and what can be connected."""

import pytest


def tables_in(session, schema):
    """{name: relkind} of a schema."""
    rows = session.rows(
        "SELECT c.relname AS name, c.relkind AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'f', 'v', 'p')",
        schema,
    )
    return {row.name: row.kind for row in rows}


def column_types(session, relation):
    rows = session.rows(
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        relation,
    )
    return {row.name: row.type for row in rows}


def test_both_sources_and_all_their_collections_are_listed(pg):
    sources = {row.source for row in pg.rows("SELECT * FROM cloudsync.sources")}
    assert {"salesforce", "stripe"} <= sources
    counts = dict(pg.rows("SELECT source, count(*) FROM cloudsync.collections GROUP BY 1"))
    assert counts["salesforce"] == 48
    assert counts["stripe"] == 27


def test_import_foreign_schema_makes_the_tables_asked_for(pg, sim, apps):
    sim.seed("salesforce", accounts=3, leads=2)
    apps.server(pg, "salesforce")
    pg.run("CREATE SCHEMA salesforce_live")
    pg.run("IMPORT FOREIGN SCHEMA salesforce LIMIT TO (accounts, leads) FROM SERVER salesforce INTO salesforce_live")
    assert tables_in(pg, "salesforce_live") == {"accounts": "f", "leads": "f"}
    types = column_types(pg, "salesforce_live.accounts")
    assert types["id"] == "text"
    assert types["system_modstamp"] == "timestamp with time zone"
    assert types["annual_revenue"] == "numeric"
    assert types["is_deleted"] == "boolean"
    assert types["last_activity_date"] == "date"
    assert pg.value("SELECT count(*) FROM salesforce_live.accounts") == 3
    assert pg.value("SELECT count(*) FROM salesforce_live.leads") == 2


def test_import_foreign_schema_leaves_out_what_is_excepted(pg, apps):
    apps.server(pg, "stripe")
    pg.run("CREATE SCHEMA stripe_live")
    pg.run("IMPORT FOREIGN SCHEMA stripe EXCEPT (charges, customers) FROM SERVER stripe INTO stripe_live")
    made = tables_in(pg, "stripe_live")
    assert "charges" not in made and "customers" not in made
    assert {"invoices", "products", "subscriptions"} <= set(made)


def test_one_call_connects_a_source(pg, sim, apps):
    sim.seed("salesforce", accounts=4)
    apps.connect_in_one_call(pg, "salesforce", ["accounts"])
    assert tables_in(pg, "salesforce_live") == {"accounts": "f"}
    assert tables_in(pg, "salesforce") == {"accounts": "r"}
    assert pg.value("SELECT count(*) FROM pg_user_mappings WHERE srvname = 'salesforce'") == 1
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.parametrize("source, collection", [("salesforce", "accounts"), ("stripe", "customers")])
def test_everything_can_happen_in_one_transaction(source, collection, pg, sim, apps):
    sim.seed(source, **{collection: 3})
    pg.run("BEGIN")
    apps.server(pg, source)
    pg.refresh_one(source, collection)
    pg.run("COMMIT")
    assert pg.value(f"SELECT count(*) FROM {source}.{collection}") == 3


def test_a_connect_that_fails_leaves_nothing_half_done(pg, sim, apps):
    with pg.fails("42704", "HV00R"):
        apps.connect_in_one_call(pg, "stripe", ["customers", "nonsense"])
    assert pg.rows("SELECT 1 FROM pg_foreign_server") == []
    assert pg.rows("SELECT 1 FROM pg_namespace WHERE nspname IN ('stripe', 'stripe_live')") == []
    with pg.fails("HV00D"):
        apps.connect_in_one_call(pg, "stripe", ["customers"], colour="blue")
    assert pg.rows("SELECT 1 FROM pg_foreign_server") == []


def test_a_refresh_right_after_create_server_makes_the_tables_itself(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.server(pg, "salesforce")
    outcome = pg.refresh_one("salesforce", "accounts")
    assert (outcome.mode, outcome.inserted) == ("full", 5)
    assert tables_in(pg, "salesforce_live") == {"accounts": "f"}
    assert tables_in(pg, "salesforce") == {"accounts": "r"}
    apps.assert_like_ledger(pg, "salesforce", "accounts")


def test_a_local_table_has_the_columns_every_local_table_has(pg, sim, apps):
    sim.seed("stripe", customers=1)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    types = column_types(pg, "stripe.customers")
    assert types["is_deleted"] == "boolean"
    assert types["received_at"] == "timestamp with time zone"
    assert types["extra"] == "jsonb"
    assert pg.value(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'stripe.customers'::regclass AND attname = 'is_deleted'"
    )
    key = pg.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'stripe.customers'::regclass AND contype = 'p'")
    assert key == "PRIMARY KEY (id)"


def test_local_tables_are_the_users_own_and_outlive_the_extension(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("DROP EXTENSION cloudsync CASCADE")
    assert pg.value("SELECT count(*) FROM stripe.customers") == 2


def test_two_accounts_of_one_source_live_in_schemas_of_their_own(pg, sim, apps):
    sim.seed("stripe", customers=3)
    apps.server(pg, "stripe", name="shop_eu")
    apps.server(pg, "stripe", name="shop_us", schema="us_sales")
    pg.refresh_one("shop_eu", "customers")
    pg.refresh_one("shop_us", "customers")
    assert pg.value("SELECT count(*) FROM shop_eu.customers") == 3
    assert pg.value("SELECT count(*) FROM us_sales.customers") == 3
    assert tables_in(pg, "us_sales_live") == {"customers": "f"}


def test_only_the_columns_of_the_live_table_are_asked_for(pg, sim, apps):
    sim.seed("salesforce", accounts=2)
    apps.server(pg, "salesforce")
    pg.run(
        "CREATE SCHEMA salesforce_live",
        "IMPORT FOREIGN SCHEMA salesforce LIMIT TO (accounts) FROM SERVER salesforce INTO salesforce_live",
        "ALTER FOREIGN TABLE salesforce_live.accounts DROP COLUMN description, DROP COLUMN sic_desc",
    )
    pg.refresh_one("salesforce", "accounts")
    (query,) = apps.data_requests("salesforce")
    assert "Description" not in query["soql"] and "SicDesc" not in query["soql"]
    assert "description" not in column_types(pg, "salesforce.accounts")


def test_check_tells_of_each_collection_whether_it_may_be_read(pg, sim, apps):
    sim.seed("salesforce", accounts=1, leads=1)
    apps.connect(pg, "salesforce", ["accounts", "leads"])
    sim.config("salesforce", denied=["leads", "Lead"])
    checked = {row.collection: row for row in pg.rows("SELECT * FROM cloudsync_check('salesforce')")}
    assert checked["accounts"].sqlstate is None
    assert checked["leads"].sqlstate == "42501"
    assert checked["leads"].hint


def test_check_with_a_bad_key_says_so_once(pg, sim, apps):
    apps.server(pg, "stripe", credentials={"api_key": "sk_test_wrong"})
    checked = pg.rows("SELECT * FROM cloudsync_check('stripe')")
    assert "28000" in {row.sqlstate for row in checked}
    assert len(sim.requests("stripe")) == 1


def test_disconnect_leaves_the_local_tables_unless_asked(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.rows("SELECT cloudsync_disconnect('stripe')")
    assert pg.value("SELECT count(*) FROM pg_foreign_server WHERE srvname = 'stripe'") == 0
    assert pg.value("SELECT count(*) FROM stripe.customers") == 2
    assert pg.rows("SELECT * FROM cloudsync.status WHERE server = 'stripe'") == []


def test_disconnect_drops_the_local_tables_when_asked(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.rows("SELECT cloudsync_disconnect('stripe', true)")
    assert "customers" not in tables_in(pg, "stripe")


def test_everything_a_user_sees_has_a_comment(pg):
    functions = pg.column(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proname LIKE 'cloudsync\\_%' "
        "AND obj_description(p.oid, 'pg_proc') IS NULL AND p.prorettype NOT IN ('fdw_handler'::regtype) ORDER BY 1"
    )
    assert functions == []
    relations = pg.column(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'cloudsync'::regnamespace AND c.relkind IN ('r', 'v') "
        "AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1"
    )
    assert relations == []
    columns = pg.column(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'cloudsync'::regnamespace AND c.relkind IN ('v', 'c') AND a.attnum > 0 "
        "AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL ORDER BY 1"
    )
    assert columns == []


@pytest.mark.proves("S1")
def test_what_can_be_connected_is_told_without_any_call(pg, sim):
    pg.rows("SELECT * FROM cloudsync.sources")
    pg.rows("SELECT * FROM cloudsync.collections")
    assert sim.requests("salesforce") == [] and sim.requests("stripe") == []
