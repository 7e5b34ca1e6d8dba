"""A first load takes a quicker way into the table, and obeys all that an INSERT obeys."""

import pytest

from session import assert_counts_add_up


@pytest.fixture
def emptied(pg, sim, apps):
    """A table that was made by a refresh and emptied since: what the user adds to it meets a first load."""
    sim.seed("stripe", customers=350)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run("TRUNCATE stripe.customers")
    return pg


@pytest.mark.proves("D4")
def test_triggers_and_generated_columns_see_every_row(emptied, apps):
    emptied.run(
        "CREATE TABLE seen (id text)",
        "ALTER TABLE stripe.customers ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED",
        "ALTER TABLE stripe.customers ADD COLUMN noted text, ADD COLUMN kept_at timestamptz NOT NULL DEFAULT now()",
        """CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN new.noted := 'by ' || current_user; RETURN new; END $$""",
        """CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO public.seen SELECT id FROM fresh; RETURN NULL; END $$""",
        "CREATE TRIGGER b BEFORE INSERT ON stripe.customers FOR EACH ROW EXECUTE FUNCTION before()",
        """CREATE TRIGGER a AFTER INSERT ON stripe.customers REFERENCING NEW TABLE AS fresh
           FOR EACH STATEMENT EXECUTE FUNCTION after()""",
    )
    outcome = emptied.refresh_one("stripe", "customers")
    assert (outcome.status, outcome.mode, outcome.inserted) == ("ok", "full", 350)
    assert emptied.value("SELECT count(*) FROM seen") == 350
    wrong = "shout IS DISTINCT FROM upper(name) OR noted IS DISTINCT FROM 'by postgres' OR kept_at IS NULL"
    assert emptied.value(f"SELECT count(*) FROM stripe.customers WHERE {wrong}") == 0
    apps.assert_like_ledger(emptied, "stripe", "customers", ignore=("shout", "noted", "kept_at"))


@pytest.mark.proves("D4", "E1")
def test_a_constraint_stops_the_collection_with_its_own_name(emptied):
    emptied.run("ALTER TABLE stripe.customers ADD CONSTRAINT nobody CHECK (id IS NULL)")
    (outcome,) = emptied.refresh("stripe", "customers")
    assert (outcome.status, outcome.sqlstate, outcome.inserted) == ("failed", "23514", 0)
    assert "nobody" in outcome.message
    assert emptied.value("SELECT count(*) FROM stripe.customers") == 0
    emptied.run("ALTER TABLE stripe.customers DROP CONSTRAINT nobody")
    assert emptied.refresh_one("stripe", "customers").inserted == 350


@pytest.mark.proves("D4")
def test_rows_that_a_trigger_keeps_out_are_not_counted_as_inserted(emptied):
    emptied.run(
        """CREATE FUNCTION every_other() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF hashtext(new.id) % 2 = 0 THEN RETURN NULL; END IF; RETURN new; END $$""",
        "CREATE TRIGGER t BEFORE INSERT ON stripe.customers FOR EACH ROW EXECUTE FUNCTION every_other()",
    )
    outcome = emptied.refresh_one("stripe", "customers")
    stored = emptied.value("SELECT count(*) FROM stripe.customers")
    assert 0 < stored < 350
    assert (outcome.inserted, outcome.fetched) == (stored, 350)
    assert_counts_add_up(outcome)


@pytest.mark.proves("D2", "D4")
def test_a_record_listed_twice_is_stored_once(emptied, sim, apps):
    sim.fault("stripe", "duplicate_page", match={"path_prefix": "/v1/customers", "skip": 1})
    outcome = emptied.refresh_one("stripe", "customers")
    assert (outcome.status, outcome.inserted) == ("ok", 350)
    assert_counts_add_up(outcome)
    apps.assert_like_ledger(emptied, "stripe", "customers")


@pytest.mark.proves("D4")
def test_a_partitioned_table_is_filled(pg, sim, apps):
    sim.seed("stripe", customers=250)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    pg.run(
        "ALTER TABLE stripe.customers RENAME TO whole",
        "CREATE TABLE stripe.customers (LIKE stripe.whole INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY HASH (id)",
        "CREATE TABLE stripe.customers_0 PARTITION OF stripe.customers FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE stripe.customers_1 PARTITION OF stripe.customers FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )
    outcome = pg.refresh_one("stripe", "customers")
    assert (outcome.status, outcome.inserted) == ("ok", 250)
    assert pg.value("SELECT count(DISTINCT tableoid) FROM stripe.customers") == 2
    apps.assert_like_ledger(pg, "stripe", "customers")
