"""What happens to the tables when the app's objects change, and when the user changes the tables."""

import pytest


def columns(session, relation):
    return session.column(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", relation
    )


def add_field(sim, name="Region__c"):
    sim.post("/salesforce/objects/Account", {"fields": [{"name": name, "type": "string", "length": 40}]})


def make_description_old(session):
    """As if a day had passed since the app was asked for its fields."""
    session.run("UPDATE cloudsync.collection_state SET described_at = now() - interval '2 days'")


@pytest.fixture
def salesforce(pg, sim, apps):
    sim.seed("salesforce", accounts=10)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    return pg


@pytest.mark.proves("C08", "D7")
def test_a_new_field_becomes_a_column(salesforce, sim, apps):
    add_field(sim)
    make_description_old(salesforce)
    key = sim.ids("salesforce", "accounts")[0]
    sim.change("salesforce", "accounts", key, {"Region__c": "EMEA"})
    salesforce.refresh_one("salesforce", "accounts")
    assert "region_c" in columns(salesforce, "salesforce_live.accounts")
    assert salesforce.value("SELECT region_c FROM salesforce.accounts WHERE id = %s", key) == "EMEA"
    apps.assert_like_ledger(salesforce, "salesforce", "accounts")


@pytest.mark.proves("C08")
def test_a_new_field_makes_no_column_when_that_is_not_wanted(pg, sim, apps):
    sim.seed("salesforce", accounts=3)
    apps.server(pg, "salesforce", schema_changes="extra")
    pg.refresh_one("salesforce", "accounts")
    add_field(sim)
    make_description_old(pg)
    pg.refresh_one("salesforce", "accounts")
    assert "region_c" not in columns(pg, "salesforce.accounts")


@pytest.mark.proves("C08")
def test_a_new_field_stops_the_collection_when_that_is_wanted(pg, sim, apps):
    sim.seed("salesforce", accounts=3)
    apps.server(pg, "salesforce", schema_changes="fail")
    pg.refresh_one("salesforce", "accounts")
    add_field(sim)
    make_description_old(pg)
    (outcome,) = pg.refresh("salesforce", "accounts")
    assert outcome.status == "failed", outcome
    assert "region_c" in outcome.message + outcome.hint


@pytest.mark.proves("C08", "D1")
def test_a_removed_field_is_asked_for_once_and_its_column_stays(salesforce, sim, apps):
    stored = dict(salesforce.rows("SELECT id, jigsaw FROM salesforce.accounts"))
    sim.delete("/salesforce/objects/Account/fields/Jigsaw")
    key = sim.ids("salesforce", "accounts")[0]
    sim.change("salesforce", "accounts", key, {"Name": "After the field went"})
    sim.clear_requests("salesforce")
    salesforce.refresh_one("salesforce", "accounts")
    assert salesforce.value("SELECT name FROM salesforce.accounts WHERE id = %s", key) == "After the field went"
    assert "jigsaw" in columns(salesforce, "salesforce.accounts")
    untouched = {k: v for k, v in salesforce.rows("SELECT id, jigsaw FROM salesforce.accounts") if k != key}
    assert untouched == {k: v for k, v in stored.items() if k != key}
    sim.clear_requests("salesforce")
    salesforce.refresh_one("salesforce", "accounts")
    assert len(sim.requests("salesforce")) == 1


@pytest.mark.proves("D7")
def test_a_field_of_stripe_that_has_no_column_is_kept_in_extra(pg, sim, apps):
    sim.seed("stripe", customers=3)
    apps.connect(pg, "stripe", ["customers"])
    sim.fault("stripe", "raw_field", {"path_prefix": "/v1/customers"}, times=1, field="loyalty", raw='{"points": 7}')
    pg.refresh_one("stripe", "customers")
    found = pg.column("SELECT extra -> 'loyalty' FROM stripe.customers WHERE extra ? 'loyalty'")
    assert found == [{"points": 7}]


@pytest.mark.proves("T01")
def test_a_column_added_to_the_live_table_is_filled_from_then_on(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.server(pg, "salesforce", schema_changes="extra")
    pg.run(
        "CREATE SCHEMA salesforce_live",
        "IMPORT FOREIGN SCHEMA salesforce LIMIT TO (accounts) FROM SERVER salesforce INTO salesforce_live",
        "ALTER FOREIGN TABLE salesforce_live.accounts DROP COLUMN industry",
    )
    pg.refresh_one("salesforce", "accounts")
    assert "industry" not in columns(pg, "salesforce.accounts")
    pg.run("ALTER FOREIGN TABLE salesforce_live.accounts ADD COLUMN industry text OPTIONS (field 'Industry')")
    key = sim.ids("salesforce", "accounts")[0]
    sim.change("salesforce", "accounts", key, {"Industry": "Energy"})
    pg.refresh_one("salesforce", "accounts")
    assert pg.value("SELECT industry FROM salesforce.accounts WHERE id = %s", key) == "Energy"


@pytest.mark.proves("T01")
def test_columns_the_user_added_to_the_local_table_are_left_alone(salesforce, sim, apps):
    salesforce.run(
        "ALTER TABLE salesforce.accounts ADD COLUMN note text DEFAULT 'mine', "
        "ADD COLUMN upper_name text GENERATED ALWAYS AS (upper(name)) STORED",
        "UPDATE salesforce.accounts SET note = 'kept'",
    )
    key = sim.ids("salesforce", "accounts")[0]
    sim.change("salesforce", "accounts", key, {"Name": "Changed"})
    sim.create("salesforce", "accounts", {"Name": "New"})
    salesforce.refresh_one("salesforce", "accounts")
    assert salesforce.row("SELECT note, upper_name FROM salesforce.accounts WHERE id = %s", key) == ("kept", "CHANGED")
    assert salesforce.value("SELECT note FROM salesforce.accounts WHERE name = 'New'") == "mine"


@pytest.mark.proves("T01")
def test_the_order_of_columns_and_further_indexes_do_not_matter(salesforce, sim, apps):
    salesforce.run(
        "CREATE INDEX ON salesforce.accounts (industry)",
        "ALTER TABLE salesforce.accounts DROP COLUMN industry",
    )
    sim.change("salesforce", "accounts", sim.ids("salesforce", "accounts")[0], {"Name": "Changed"})
    salesforce.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(salesforce, "salesforce", "accounts", ignore=("industry",))


@pytest.mark.proves("T01")
def test_a_column_the_user_retyped_compatibly_goes_on(pg, sim, apps):
    sim.seed("stripe", customers=5)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("ALTER TABLE stripe.customers ALTER COLUMN email TYPE varchar(400)")
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"email": "new@example.com"})
    assert pg.refresh_one("stripe", "customers").updated == 1


@pytest.mark.proves("T02")
def test_a_truncated_table_is_filled_again_by_a_reset(pg, sim, apps):
    sim.seed("stripe", customers=30)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("TRUNCATE stripe.customers")
    pg.rows("SELECT cloudsync_reset('stripe', 'customers')")
    pg.refresh_one("stripe", "customers")
    apps.assert_like_ledger(pg, "stripe", "customers")


@pytest.mark.proves("T02")
def test_a_partitioned_local_table_works(pg, sim, apps):
    sim.seed("stripe", customers=30)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run(
        "ALTER TABLE stripe.customers RENAME TO old",
        "CREATE TABLE stripe.customers (LIKE stripe.old INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id)",
        "CREATE TABLE stripe.customers_0 PARTITION OF stripe.customers FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE stripe.customers_1 PARTITION OF stripe.customers FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO stripe.customers SELECT * FROM stripe.old",
        "DROP TABLE stripe.old",
    )
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "In a partition"})
    pg.refresh_one("stripe", "customers")
    apps.assert_like_ledger(pg, "stripe", "customers")


@pytest.mark.proves("T02")
def test_an_unlogged_local_table_works(pg, sim, apps):
    sim.seed("stripe", customers=10)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("ALTER TABLE stripe.customers SET UNLOGGED")
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "Unlogged"})
    pg.refresh_one("stripe", "customers")
    apps.assert_like_ledger(pg, "stripe", "customers")
