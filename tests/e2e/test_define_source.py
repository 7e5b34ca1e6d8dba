"""A user's own API as a source: defined in SQL, used like a built-in one, and kept within its bounds.

The simulator's bookshop is such an API. What a hostile definition may not do is in test_define_source_bounds.py.
"""

import re
import uuid
from decimal import Decimal

import pytest

from conftest import CRON_DATABASE, Database
from session import Session, poll
from shop import KEY, connect, define, definition
from simulator import ROOT


@pytest.fixture
def shop(sim):
    sim.seed("bookshop", authors=7, books=130, orders=250)
    return sim


def readme_example(sim):
    """The statements between the marker in README.md and the end of its block, for the simulator's bookshop."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- example: bookshop -->\n```sql\n(.*?)```", text, re.DOTALL).group(1)
    assert script.count("https://api.bookshop.example/v1") == 1 and '"api_key": "..."' in script
    script = script.replace("https://api.bookshop.example/v1", sim.url("bookshop") + "/v1")
    return script.replace('"api_key": "..."', f'"api_key": "{KEY}"')


def record_of(sim, book):
    (found,) = [entry["record"] for entry in sim.ledger("bookshop", "books") if entry["id"] == str(book)]
    return found


def assert_like_shop(session, sim, collection, schema="bookshop"):
    """The local table has the shop's records, living and deleted."""
    truth = {entry["id"]: entry["deleted"] for entry in sim.ledger("bookshop", collection)}
    stored = {str(row.id): row.is_deleted for row in session.rows(f"SELECT id, is_deleted FROM {schema}.{collection}")}
    assert stored == truth


def test_the_example_of_the_readme_works_as_it_stands(db, pg, shop, apps):
    printed = db.cluster.psql(db.name, readme_example(shop))
    assert "ERROR" not in printed and "WARNING" not in printed, printed
    for collection in ("books", "orders", "authors"):
        assert_like_shop(pg, shop, collection)
    apps.assert_like_ledger(pg, "bookshop", "orders")
    # Both answers of cloudsync_define_source, the join's five rows and the refresh of authors were printed.
    assert re.search(r"books +\| new", printed) and re.search(r"authors +\| new", printed), printed
    assert re.search(r"books +\| same", printed) and re.search(r"authors +\| ok +\| +7", printed), printed
    book = record_of(shop, 3)
    stored = pg.row("SELECT title, price, tags FROM bookshop.books WHERE id = %s", book["id"])
    assert stored == (book["title"], Decimal(book["price"]["amount"]), book["tags"])


def test_changes_and_deletions_cost_one_listing_of_changes(pg, shop):
    connect(pg, shop)
    assert pg.refresh_one("shop", "orders").inserted == 250
    first, second = shop.ids("bookshop", "orders")[:2]
    shop.change("bookshop", "orders", first, {"copies": 41})
    shop.remove("bookshop", "orders", second)
    shop.clear_requests("bookshop")
    outcome = pg.refresh_one("shop", "orders")
    assert (outcome.mode, outcome.updated, outcome.inserted, outcome.calls) == ("incremental", 2, 0, 1), outcome
    assert "updated_since" in shop.requests("bookshop")[0]["query"]
    assert pg.value("SELECT copies FROM shop.orders WHERE id = %s", first) == 41
    assert_like_shop(pg, shop, "orders", "shop")
    quiet = pg.refresh_one("shop", "orders")
    assert (quiet.updated, quiet.inserted, quiet.deleted) == (0, 0, 0), quiet


def test_it_is_a_source_like_the_others(db, pg, shop):
    rows = define(pg, definition(shop))
    assert [(r.source, r.collection, r.change, r.message) for r in rows] == [
        ("bookshop", "books", "new", None),
        ("bookshop", "orders", "new", None),
    ]
    shown = pg.row("SELECT * FROM cloudsync.sources WHERE source = 'bookshop'")
    assert (shown.title, shown.auth_fields, shown.user_defined) == ("Bookshop", ["api_key"], True)
    assert pg.value("SELECT bool_or(user_defined) FROM cloudsync.sources WHERE source = 'stripe'") is False
    books = pg.row("SELECT * FROM cloudsync.collections WHERE source = 'bookshop' AND collection = 'books'")
    assert (books.key, books.cursor, books.user_defined) == (["id"], "updated_at", True)
    # The standard way: server, mapping, import, live query, check, sync.
    pg.run(
        "CREATE SERVER mine FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'bookshop', requests_per_second '0')",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (api_key '{KEY}')",
        "CREATE SCHEMA mine_live",
        "IMPORT FOREIGN SCHEMA bookshop FROM SERVER mine INTO mine_live",
    )
    shop.clear_requests("bookshop")
    assert pg.value("SELECT title FROM mine_live.books WHERE id = 3") == record_of(shop, 3)["title"]
    assert [r["path"] for r in shop.requests("bookshop")] == ["/v1/books/3"]
    assert "GET /books/3" in pg.explain("SELECT title FROM mine_live.books WHERE id = 3").replace("'", "")
    assert [(r.collection, r.ok) for r in pg.rows("SELECT * FROM cloudsync_check('mine')")] == [
        (None, True),
        ("books", True),
        ("orders", True),
    ]
    pg.run("CALL cloudsync_sync('mine')")
    assert_like_shop(pg, shop, "books", "mine")
    states = pg.rows("SELECT collection, state, rows FROM cloudsync.status WHERE server = 'mine' ORDER BY 1")
    assert states == [("books", "ok", 130), ("orders", "ok", 250)]
    # Wrong credentials and options are told as for any source.
    with pg.fails("HV00D") as failure:
        pg.run("ALTER SERVER mine OPTIONS (ADD subdomain 'x')")
    assert "subdomain" in failure.message
    pg.run("ALTER USER MAPPING FOR CURRENT_USER SERVER mine OPTIONS (SET api_key 'wrong')")
    assert pg.rows("SELECT * FROM cloudsync_check('mine')")[0].sqlstate == "28000"


def test_its_credentials_and_settings_have_names_of_its_own(pg, shop):
    more = definition(
        shop,
        auth={"style": "bearer", "secret": "licence", "credentials": [{"name": "licence", "help": "On paper."}]},
        settings=[{"name": "shelf", "help": "Which.", "values": ["a", "b"], "required": True}],
        headers={"X-Shelf": "{shelf}"},
    )
    define(pg, more)
    assert pg.row("SELECT auth_fields, settings FROM cloudsync.sources WHERE user_defined") == (["licence"], ["shelf"])
    with pg.fails("HV024"):
        pg.run("CREATE SERVER s FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'bookshop', shelf 'c')")
    pg.run(
        "CREATE SERVER s FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'bookshop', shelf 'b')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER s",
    )
    pg.rows("SELECT cloudsync_set_credential('s', 'licence', %s)", KEY)
    assert pg.refresh_one("s", "books").inserted == 130


def test_a_new_definition_counts_in_sessions_that_are_open(db, pg, shop):
    connect(pg, shop, overlap_seconds=3600)
    pg.refresh("shop")
    pg.run("SET plan_cache_mode = force_generic_plan", "PREPARE one AS SELECT title FROM shop_live.books WHERE id = 3")
    pg.rows("EXECUTE one")
    other = db.session()
    changed = definition(shop)
    del changed["collections"][0]["by_key"]
    changed["collections"][0]["params"] = {"shelf": "b"}
    changed["collections"][1]["columns"].append({"name": "customer_email", "type": "text"})
    changes = [(r.collection, r.change, r.message) for r in define(other, changed)]
    assert changes == [("books", "read again", "the next refresh of shop reads it in full"), ("orders", "changed", None)]
    shop.clear_requests("bookshop")
    # A plan made before asked for one record by its key; the present source has no such call.
    assert len(pg.rows("EXECUTE one")) == 1
    asked = shop.requests("bookshop")
    assert asked and all(r["path"] == "/v1/books" and "shelf=b" in r["query"] for r in asked), asked
    modes = {o.collection: (o.mode, o.status, o.inserted, o.deleted) for o in pg.refresh("shop")}
    assert modes == {"books": ("full", "ok", 0, 0), "orders": ("incremental", "ok", 0, 0)}
    # The server's own overlap, not the file's, was asked for.
    (orders,) = shop.requests("bookshop", path="/v1/orders")
    since = pg.value("SELECT checkpoint ->> 'cursor' FROM cloudsync.collection_state WHERE collection = 'orders'")
    given = re.search(r"updated_since=([^&]+)", orders["query"]).group(1).replace("%3A", ":").replace("%2B", "+")
    assert pg.value("SELECT %s::timestamptz - %s::timestamptz BETWEEN '59 minutes' AND '62 minutes'", since, given)
    pg.run("ALTER FOREIGN TABLE shop_live.orders ADD COLUMN customer_email text")
    pg.rows("SELECT cloudsync_reset('shop', 'orders')")
    pg.refresh_one("shop", "orders")
    assert pg.value("SELECT count(customer_email) FROM shop.orders") == 250


def test_what_is_rolled_back_was_never_defined(pg, shop):
    define(pg, definition(shop))
    pg.run("BEGIN")
    define(pg, definition(shop, title="Other"))
    assert pg.value("SELECT title FROM cloudsync.sources WHERE source = 'bookshop'") == "Other"
    pg.run("ROLLBACK")
    assert pg.value("SELECT title FROM cloudsync.sources WHERE source = 'bookshop'") == "Bookshop"
    pg.run("BEGIN")
    define(pg, definition(shop, source="third"))
    pg.run("ROLLBACK")
    with pg.fails("42704") as failure:
        pg.run("CREATE SERVER t FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'third')")
    assert "bookshop" in failure.hint and "cloudsync_define_source" in failure.hint


def test_a_removed_collection_leaves_its_tables_and_the_others_go_on(pg, shop):
    connect(pg, shop)
    pg.refresh("shop")
    less = definition(shop)
    del less["collections"][1]
    rows = define(pg, less)
    assert [(r.collection, r.change) for r in rows] == [("books", "same"), ("orders", "removed")]
    assert "shop_live.orders" in rows[1].message
    outcomes = {o.collection: (o.status, o.sqlstate) for o in pg.refresh("shop")}
    assert outcomes == {"books": ("ok", None), "orders": ("skipped", "42704")}
    pg.run("CALL cloudsync_sync('shop')")
    assert {r.collection: r.status for r in pg.rows("SELECT * FROM cloudsync_check('shop')")}["orders"] == "skipped"
    assert pg.value("SELECT count(*) FROM shop.orders") == 250
    with pg.fails("42704"):
        pg.refresh("shop", "orders")
    with pg.fails("42704"):
        pg.rows("SELECT * FROM shop_live.orders")
    assert [r.change for r in define(pg, definition(shop))] == ["same", "new"]
    assert pg.refresh_one("shop", "orders").inserted == 0


def test_a_collection_at_work_is_not_given_another_way(db, pg, shop):
    connect(pg, shop)
    other = db.session()
    changed = definition(shop)
    changed["collections"][0]["params"] = {"shelf": "b"}
    with shop.gate("bookshop", path_prefix="/v1/books") as gate:
        run = pg.background("CALL cloudsync_sync('shop', ARRAY['books'])")
        gate.wait()
        with other.fails("55006"):
            define(other, changed)
        gate.release()
        run.finish()
    assert run.error is None or "no results" in str(run.error), run.error
    define(other, changed)


def test_a_source_in_use_is_not_dropped(pg, shop):
    connect(pg, shop)
    connect(pg, shop, name="second")
    with pg.fails("2BP01") as failure:
        pg.rows("SELECT cloudsync_drop_source('bookshop')")
    assert "second, shop" in failure.detail
    pg.rows("SELECT cloudsync_disconnect('second'), cloudsync_disconnect('shop', true)")
    pg.rows("SELECT cloudsync_drop_source('bookshop')")
    assert pg.rows("SELECT 1 FROM cloudsync.sources WHERE user_defined") == []
    with pg.fails("42704"):
        pg.rows("SELECT cloudsync_drop_source('bookshop')")
    with pg.fails("42809") as failure:
        pg.rows("SELECT cloudsync_drop_source('stripe')")
    assert "built in" in failure.message


def test_a_token_is_renewed_for_a_source_that_is_not_committed_yet(pg, shop):
    auth = {
        "style": "oauth2", "token_url": shop.url("bookshop") + "/oauth/token", "lifetime_seconds": 3600,
        "grants": [{"grant_type": "client_credentials", "needs": ["client_id", "client_secret"]}],
        "credentials": [{"name": "client_id", "help": "Yours."}, {"name": "client_secret", "help": "Yours."}],
    }  # fmt: skip
    pg.run("BEGIN")
    # Longer than what a worker is usually asked.
    define(pg, definition(shop, auth=auth, notes=["long " * 80_000]))
    connect(pg, shop, credentials={"client_id": "sim-shop", "client_secret": "sim-shop-secret"}, define_it=False)
    assert pg.refresh_one("shop", "books").inserted == 130
    pg.run("COMMIT")
    assert pg.refresh_one("shop", "books").mode == "incremental"
    assert len(shop.requests("bookshop", path="/oauth/token")) == 1


@pytest.fixture
def restored(cluster):
    name = f"r_{uuid.uuid4().hex[:12]}"
    with cluster.connect("template1") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield name
    with cluster.connect("template1") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def dump(cluster, database, *more):
    return cluster.command("pg_dump", "-h", cluster.sockets, "-p", 5432, "-U", "postgres", *more, database)


@pytest.mark.proves("L01")
def test_a_dump_carries_it_through_psql(db, pg, shop, restored):
    more = definition(shop, settings=[{"name": "shelf", "help": "Which."}])
    more["auth"] = {"style": "bearer", "secret": "licence", "credentials": [{"name": "licence", "help": "On paper."}]}
    define(pg, more)
    connect(pg, shop, credentials={"licence": KEY}, define_it=False, shelf="a")
    pg.refresh("shop")
    printed = db.cluster.psql(restored, "\\set ON_ERROR_STOP on\n" + dump(db.cluster, db.name))
    assert "ERROR" not in printed, printed
    session = Session(db.cluster.connect(restored))
    assert session.row("SELECT source, title FROM cloudsync.sources WHERE user_defined") == ("bookshop", "Bookshop")
    assert session.value("SELECT title FROM shop_live.books WHERE id = 3")
    shop.change("bookshop", "books", "3", {"title": "After the dump"})
    outcome = session.refresh_one("shop", "books")
    assert (outcome.mode, outcome.updated) == ("incremental", 1), outcome
    assert_like_shop(session, shop, "orders", "shop")
    with session.fails("HV00D"):
        session.run("ALTER SERVER shop OPTIONS (ADD nonsense 'x')")
    session.close()


@pytest.mark.proves("L01")
def test_a_schema_without_data_works_once_its_source_is_defined(db, pg, shop, restored):
    connect(pg, shop)
    printed = db.cluster.psql(restored, "\\set ON_ERROR_STOP on\n" + dump(db.cluster, db.name, "--schema-only"))
    assert "ERROR" not in printed, printed
    session = Session(db.cluster.connect(restored))
    with session.fails("42704") as failure:
        session.refresh("shop")
    assert "cloudsync_define_source" in failure.hint
    define(session, definition(shop))
    assert session.refresh_one("shop", "books").mode == "full"
    assert_like_shop(session, shop, "books", "shop")
    session.close()


def test_only_a_restore_may_name_a_source_that_is_not_there(pg):
    with pg.fails("42704"):
        pg.run("CREATE SERVER s FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'nowhere')")
    pg.run("SET check_function_bodies = off")
    with pg.fails("HV024"):
        pg.run("CREATE SERVER s FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'nowhere', max_tries 'x')")
    pg.run("CREATE SERVER s FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'nowhere', own 'x')")
    pg.run("RESET check_function_bodies")
    with pg.fails("42704"):
        pg.refresh("s")


@pytest.mark.slow
def test_pg_cron_refreshes_it(cluster, sim):
    sim.seed("bookshop", books=12)
    database = Database(cluster, CRON_DATABASE)
    session = database.session()
    session.run("CREATE EXTENSION IF NOT EXISTS pg_cron", "DROP EXTENSION IF EXISTS cloudsync CASCADE")
    session.run("DROP SCHEMA IF EXISTS shop CASCADE", "DROP SCHEMA IF EXISTS shop_live CASCADE", "CREATE EXTENSION cloudsync")
    connect(session, sim)
    job = session.value("SELECT cloudsync_schedule('shop', '* * * * *')")
    ended = "SELECT status, return_message FROM cron.job_run_details WHERE jobid = %s AND status IN ('succeeded', 'failed')"
    first = poll(lambda: session.rows(ended, job), "the job ran", 90)[0]
    assert first.status == "succeeded", first
    assert_like_shop(session, sim, "books", "shop")
    session.rows("SELECT cloudsync_disconnect('shop', true)")
    session.run("DROP EXTENSION cloudsync CASCADE")
    database.close()
