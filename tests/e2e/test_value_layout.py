"""Values that are laid out outside Postgres are byte for byte what Postgres itself would have stored."""

import json
import random

import pytest

DOCUMENTS = 80
TOAST_POINTER_BYTES = 18


def a_string(draw):
    parts = ["", "a", "plain words", "é😀", r"\n\t\\ \"", r"\u00e9", r"\ud83d\ude00", "x" * 40, r"\/", "key"]
    return '"' + "".join(draw.choices(parts, k=draw.randint(0, 3))) + '"'


def a_number(draw):
    shapes = ["0", "-0", "-0.00", "12", "-1.50", "1e5", "1E-7", "1.5e-3", "0.0001", "0.00001", "10000", "99999999", "100000000"]
    shapes += ["123456789012345678901234567890.123456789", "1e300", "-1e-300", "1." + "0" * 70, "5e-324", "1e64", "1e-64"]
    return draw.choice(shapes) if draw.random() < 0.5 else repr(draw.choice([1, -1]) * draw.randint(0, 10**12) / 10**draw.randint(0, 9))


def a_document(draw, depth=0):
    kind = draw.random()
    if depth > 5 or kind < 0.25:
        return draw.choice(["null", "true", "false", a_number(draw), a_string(draw)])
    # More than 32 entries, now and then: every 32nd is stored in another way.
    count = draw.choice([0, 1, 2, 3, 5, 8, 40 if depth < 2 else 4])
    if kind < 0.55:
        return "[" + ",".join(a_document(draw, depth + 1) for _ in range(count)) + "]"
    keys = [a_string(draw) if draw.random() < 0.6 else f'"k{draw.randint(0, 99)}"' for _ in range(count)]
    # Repeated keys on purpose: the last one counts.
    if keys and draw.random() < 0.3:
        keys.append(keys[0])
    return "{" + ", ".join(f"{key} : {a_document(draw, depth + 1)}" for key in keys) + "}"


def stored_bytes(session, table, column):
    """The bytes of one column of the only row of a table, as they lie in its page."""
    return session.value(
        f"SELECT (t_attrs)[(SELECT attnum FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{column}')] "
        f"FROM heap_page_item_attrs(get_raw_page('{table}', 0), '{table}'::regclass) WHERE t_attrs IS NOT NULL "
        "ORDER BY lp DESC LIMIT 1"
    )


@pytest.fixture
def customers(pg, sim, apps):
    sim.seed("stripe", customers=1)
    apps.connect(pg, "stripe", ["customers"])
    pg.run("CREATE EXTENSION pageinspect", "ALTER FOREIGN TABLE stripe_live.customers ADD COLUMN amount numeric OPTIONS (field 'balance')")
    pg.run("ALTER FOREIGN TABLE stripe_live.customers DROP COLUMN balance")
    pg.refresh_one("stripe", "customers")
    # Stored plainly, so that bytes are compared and not what a compressor makes of them.
    pg.run("ALTER TABLE stripe.customers ALTER metadata SET STORAGE external")
    pg.run("CREATE TABLE twin (metadata jsonb STORAGE external, amount numeric)" if pg.value("SHOW server_version_num") >= "160000" else "CREATE TABLE twin (metadata jsonb, amount numeric)")
    pg.run("ALTER TABLE twin ALTER metadata SET STORAGE external")
    return pg


def refetch(session, sim, field, raw):
    sim.fault("stripe", "raw_field", match={"path_prefix": "/v1/customers"}, field=field, raw=raw)
    session.run("TRUNCATE stripe.customers, twin")
    outcome = session.refresh_one("stripe", "customers")
    assert (outcome.status, outcome.inserted, outcome.rejected) == ("ok", 1, 0), raw


@pytest.mark.proves("D4")
def test_json_is_stored_as_postgres_stores_it(customers, sim):
    draw, compared = random.Random(20), 0
    for _ in range(DOCUMENTS):
        raw = a_document(draw)
        while len(raw) > 6000 or raw == "null":
            raw = a_document(draw)
        refetch(customers, sim, "metadata", raw)
        customers.run("INSERT INTO twin (metadata) SELECT metadata::text::jsonb FROM stripe.customers")
        assert customers.value("SELECT metadata = %s::jsonb FROM stripe.customers", raw), raw
        ours, theirs = (stored_bytes(customers, table, "metadata") for table in ("stripe.customers", "twin"))
        # A wide row keeps it elsewhere: then there is only an address to compare.
        if len(ours) != TOAST_POINTER_BYTES:
            compared += 1
            assert ours == theirs, raw
    assert compared > DOCUMENTS / 2


@pytest.mark.proves("D4")
def test_numbers_are_stored_as_postgres_stores_them(customers, sim):
    draw = random.Random(4)
    for _ in range(DOCUMENTS):
        raw = a_number(draw)
        refetch(customers, sim, "balance", raw)
        customers.run(f"INSERT INTO twin (amount) SELECT '{raw}'::numeric")
        assert customers.value("SELECT c.amount::text = t.amount::text FROM stripe.customers c, twin t"), raw
        ours, theirs = stored_bytes(customers, "stripe.customers", "amount"), stored_bytes(customers, "twin", "amount")
        assert ours is not None and ours == theirs, raw


@pytest.mark.proves("D4")
def test_wide_rows_are_compressed_and_read_back(pg, sim, apps):
    if pg.value("SELECT 'lz4' <> ALL (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"):
        pytest.skip("this server is built without lz4")
    apps.connect(pg, "stripe", ["customers"])
    draw = random.Random(8)
    sim.seed("stripe", customers=40)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    want = {}
    for key in sim.ids("stripe", "customers"):
        size = draw.choice([10, 60, 150, 700, 3000])
        want[key] = {f"note{n}": " ".join(draw.choices(words, k=size // 10)) for n in range(10)}
        sim.change("stripe", "customers", key, {"metadata": want[key]})
    outcome = pg.refresh_one("stripe", "customers")
    assert (outcome.status, outcome.inserted) == ("ok", 40)
    stored = dict(pg.rows("SELECT id, metadata::text FROM stripe.customers"))
    assert {key: json.loads(text) for key, text in stored.items()} == want
    methods = dict(pg.rows("SELECT coalesce(pg_column_compression(metadata), 'none'), count(*) FROM stripe.customers GROUP BY 1"))
    assert methods.get("lz4", 0) > 0 and methods.get("none", 0) > 0 and "pglz" not in methods, methods
    again = pg.refresh_one("stripe", "customers")
    assert (again.inserted, again.updated) == (0, 0), "compression does not change what is compared"
