"""What a definition cannot do: leave its host, read files, run SQL, take another's place, or be written by anyone."""

import json

import pytest

from session import poll
from shop import connect, define, definition


def host(sim, app):
    return sim.url(app).removeprefix("http://")


@pytest.fixture
def other(sim):
    """Another host: nothing may come there. Gives its address."""
    sim.clear_requests("stripe")
    yield sim.url("stripe")
    assert sim.requests("stripe") == [], "a request left the source's host"


def test_all_mistakes_are_told_each_with_its_place(pg, sim):
    wrong = definition(sim, base_url="https://user:secret@api.bookshop.example", check_path="/{nobody}")
    wrong["collections"][1]["name"] = 'orders"; DROP TABLE t; --'
    wrong["collections"][1]["columns"][0]["type"] = "text); DROP TABLE t; --"
    with pg.fails("22023") as failure:
        define(pg, wrong)
    assert failure.message.startswith("the source cannot be defined: at /base_url: "), failure.message
    for place in ("/base_url", "/check_path", "/collections/1/name", "/collections/1/columns/0/type"):
        assert f"at {place}: " in failure.detail, failure.detail
    assert len(failure.detail.splitlines()) >= 4
    assert "docs/source-files.md" in failure.hint
    assert pg.value("SELECT count(*) FROM cloudsync.defined_sources") == 0


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("/source", "stripe", "/source"),
        ("/source", "My Shop", "/source"),
        ("/base_url", "file:///etc/passwd", "/base_url"),
        ("/base_url", "https://user:pw@api.bookshop.example/", "/base_url"),
        ("/base_url", "http://api.bookshop.example/", "/base_url"),
        ("/base_url", "https://10.0.0.1/", "/base_url"),
        ("/base_url", "https://169.254.169.254/latest", "/base_url"),
        ("/base_url", "https://[::1]/", "/base_url"),
        ("/base_url", "https://{api_key}.evil.example/", "/base_url"),
        ("/headers", {"Host": "intranet"}, "/headers/Host"),
        ("/headers", {"X-A\r\nHost": "intranet"}, "/headers/X-A\r\nHost"),
        ("/collections/0/name", "books\u0001", "/collections/0/name"),
        ("/collections/0/columns/1/name", 'title" text, x', "/collections/0/columns/1/name"),
        ("/collections/0/columns/1/type", "regclass", "/collections/0/columns/1/type"),
        ("/collections/0/job", {"create": {"path": "/x"}}, "/collections/0/job"),
        ("/collections/0/base_url", "https://files.bookshop.example/v1", "/collections/0/base_url"),
        ("/values", {"dc": [{"call": {"path": "https://evil.example/dc"}, "pointer": "/dc"}]}, "/values/dc/0/call/path"),
        ("/protocol", "sql", "/protocol"),
        ("/collections", "books", "/collections"),
        ("/surprise", 1, "/surprise"),
    ],
)
def test_a_definition_with_harm_in_it_is_refused(pg, sim, place, value, told):
    pg.run("SET cloudsync.allow_private_addresses = off")
    file = definition(sim, base_url="https://api.bookshop.example/v1")
    target, keys = file, place.strip("/").split("/")
    for key in keys[:-1]:
        target = target[int(key) if isinstance(target, list) else key]
    target[keys[-1]] = value
    with pg.fails("22023") as failure:
        define(pg, file)
    assert f"at {told}" in failure.message or f"at {told}" in failure.detail, failure.text


def test_other_forms_of_json_are_refused_too(pg):
    for text in ("null", "[]", '"books"', "1", "{}"):
        with pg.fails("22023"):
            pg.rows("SELECT * FROM cloudsync_define_source(%s::jsonb)", text)
    with pg.fails("22023") as failure:
        pg.rows("SELECT * FROM cloudsync_define_source(jsonb_build_object('source', repeat('x', 5000000)))")
    assert "bytes" in failure.message


def test_words_of_sql_are_only_names(pg, sim):
    sim.seed("bookshop", books=30)
    file = definition(sim)
    table = file["collections"][0]
    del file["collections"][1]
    table |= {"name": "order", "by_key": "/books/{id}"}
    table["columns"] += [{"name": "order", "type": "integer"}, {"name": "select", "type": "text", "field": "title'); --"}]
    table["columns"] += [{"name": "user", "type": "text", "field": '/price/amount'}]
    define(pg, file)
    connect(pg, sim, name='odd "name"; --', define_it=False)
    outcome = pg.refresh_one('odd "name"; --', "order")
    assert outcome.inserted == 30
    row = pg.row('SELECT "order", "select", "user" FROM "odd ""name""; --"."order" WHERE id = 4')
    assert (row[0], row[1]) == (3, None) and row[2].endswith(".90")
    assert pg.value('SELECT "order" FROM "odd ""name""; --_live"."order" WHERE id = 4') == 3
    sim.change("bookshop", "books", "4", {"order": 99})
    assert pg.refresh_one('odd "name"; --', "order").updated == 1


def test_a_next_link_to_another_host_is_not_followed(pg, sim, other):
    sim.seed("bookshop", authors=150)
    file = definition(sim)
    # The shop's own data says where the next page is.
    file["collections"][0] |= {
        "path": "/authors", "by_key": "/authors/{id}", "pages": {"style": "next_url", "pointer": "/data/0/website"},
    }  # fmt: skip
    sim.change("bookshop", "authors", "1", {"website": f"{other}/v1/charges"})
    define(pg, file)
    connect(pg, sim, define_it=False)
    (outcome,) = pg.refresh("shop", "books")
    assert (outcome.status, outcome.sqlstate) in {("failed", "HV00N"), ("partial", "HV00N")}, outcome
    assert "not followed" in outcome.message


def test_a_redirect_to_another_host_is_not_followed(pg, sim, other):
    sim.seed("bookshop", books=5)
    connect(pg, sim)
    sim.fault("bookshop", "redirect", times=0, location=f"{other}/v1/charges")
    (outcome,) = pg.refresh("shop", "books")
    assert (outcome.status, outcome.sqlstate) == ("failed", "HV00N"), outcome
    assert "not followed" in outcome.message


@pytest.mark.parametrize("form", ["//{host}/v1/charges", "@{host}/v1/charges", "http://{host}/v1/charges", ":80@{host}/", "\\\\{host}/x"])
def test_a_path_stays_at_the_host_of_its_source(pg, sim, other, form):
    path = form.format(host=other.removeprefix("http://"))
    file = definition(sim)
    file["collections"][0]["path"] = path
    # The same by way of a setting.
    file["settings"] = [{"name": "tail", "help": "Where."}]
    file["collections"][1]["path"] = "/{tail}"
    define(pg, file)
    connect(pg, sim, define_it=False, tail=path)
    sim.clear_requests("bookshop")
    for outcome in pg.refresh("shop"):
        assert outcome.status in ("failed", "skipped"), outcome
    credentials = {r["credential"] for r in sim.requests("bookshop")}
    assert credentials <= {"valid"}


def test_a_value_does_not_lead_out_of_its_host(pg, sim, other):
    port = host(sim, "bookshop").split(":")[1]
    file = definition(sim, base_url="http://127.0.0.1:{port}/v1", settings=[{"name": "port", "help": "Which."}])
    define(pg, file)
    connect(pg, sim, name="good", define_it=False, port=port)
    assert pg.refresh_one("good", "books").status == "ok"
    evil = host(sim, "stripe")
    for value in (f"{port}@{evil}", f"{evil}/", f"{port}\\@{evil}", f"{port}#@{evil}/"):
        name = f"s{abs(hash(value))}"
        connect(pg, sim, name=name, define_it=False, port=value)
        (outcome,) = pg.refresh(name, "books")
        assert (outcome.status, outcome.sqlstate) == ("failed", "HV024"), (value, outcome)


def test_an_answer_does_not_lead_out_of_its_host(db, pg, sim, other):
    sim.seed("bookshop", authors=3)
    port, evil = host(sim, "bookshop").split(":")[1], host(sim, "stripe")
    sim.change("bookshop", "authors", "1", {"name": f"{port}@{evil}"})
    file = definition(sim, base_url="http://127.0.0.1:{port}/v1")
    call = {"path": sim.url("bookshop") + "/v1/authors/1", "headers": {"Authorization": "Bearer {api_key}"}}
    file["values"] = {"port": [{"call": call, "pointer": "/name"}]}
    define(pg, file)
    connect(pg, sim, define_it=False)
    (outcome,) = pg.refresh("shop", "books")
    assert (outcome.status, outcome.sqlstate) == ("failed", "HV024"), outcome
    sim.change("bookshop", "authors", "1", {"name": port})
    # A session asks once.
    (outcome,) = db.session().refresh("shop", "books")
    assert outcome.status == "ok", outcome


def test_a_token_answer_names_a_host_only_where_the_definition_asks(pg, sim, other):
    sim.seed("bookshop", books=5)
    sim.config("bookshop", api_url=other)
    auth = {
        "style": "oauth2", "token_url": sim.url("bookshop") + "/oauth/token", "lifetime_seconds": 3600,
        "grants": [{"grant_type": "client_credentials", "needs": ["client_id", "client_secret"]}],
        "credentials": [{"name": "client_id", "help": "Yours."}, {"name": "client_secret", "help": "Yours."}],
    }  # fmt: skip
    define(pg, definition(sim, auth=auth))
    connect(pg, sim, define_it=False, credentials={"client_id": "sim-shop", "client_secret": "sim-shop-secret"})
    assert pg.refresh_one("shop", "books").inserted == 5
    # Where it asks, the address is judged like any other.
    pg.run("SET cloudsync.allow_private_addresses = off")
    with pg.fails("22023") as failure:
        define(pg, definition(sim, auth=auth | {"token_url": "https://u:p@login.example/token"}, base_url="https://a.example"))
    assert "/auth/token_url" in failure.message


def test_private_addresses_are_refused_when_a_call_is_made(pg, sim):
    """A name that leads inside is only known when it is looked up."""
    connect(pg, sim)
    define(pg, definition(sim, base_url="https://localhost/v1"))
    pg.run("SET cloudsync.allow_private_addresses = off")
    (outcome,) = pg.refresh("shop", "books")
    assert (outcome.status, outcome.sqlstate) == ("failed", "HV00N"), outcome
    assert "not allowed" in outcome.message


@pytest.fixture
def roles(pg):
    """Roles without superuser's rights: `loader` may define, `rival` too, `reader` may not."""
    for role in ("loader", "rival", "reader"):
        pg.run(f"DROP ROLE IF EXISTS define_{role}", f"CREATE ROLE define_{role} LOGIN")
    for role in ("loader", "rival"):
        pg.run(f"GRANT EXECUTE ON FUNCTION cloudsync_define_source(jsonb), cloudsync_drop_source(text) TO define_{role}")
    yield {"loader": "define_loader", "rival": "define_rival", "reader": "define_reader"}
    for role in ("loader", "rival", "reader"):
        pg.run(f"DROP OWNED BY define_{role} CASCADE", f"DROP ROLE define_{role}")


@pytest.mark.proves("S4")
def test_who_is_granted_it_defines_and_only_who_defined_replaces(db, pg, sim, roles):
    file = definition(sim, base_url="https://api.bookshop.example/v1")
    reader, rival, loader = (db.session(roles[role]) for role in ("reader", "rival", "loader"))
    for statement in ("SELECT cloudsync_define_source('{}')", "SELECT cloudsync_drop_source('x')"):
        with reader.fails("42501"):
            reader.rows(statement)
    with reader.fails("42501"):
        reader.rows("SELECT * FROM cloudsync.defined_sources")
    define(loader, file)
    with loader.fails("42501"):
        loader.run("INSERT INTO cloudsync.defined_sources VALUES ('x', '{}', 'postgres')")
    assert reader.value("SELECT title FROM cloudsync.sources WHERE user_defined") == "Bookshop"
    with rival.fails("42501") as failure:
        define(rival, file | {"base_url": "https://evil.example"})
    assert roles["loader"] in failure.detail
    with rival.fails("42501"):
        rival.rows("SELECT cloudsync_drop_source('bookshop')")
    define(pg, file | {"title": "Of the superuser"})
    define(loader, file | {"title": "Of the loader"})
    assert pg.value("SELECT defined_by FROM cloudsync.defined_sources") == roles["loader"]
    pg.run(f"GRANT {roles['loader']} TO {roles['rival']}")
    rival.rows("SELECT cloudsync_drop_source('bookshop')")
    # Plain http and private addresses are a superuser's decision, not a definer's.
    loader.run("SET ROLE NONE")
    with loader.fails("42501"):
        loader.run("SET cloudsync.allow_private_addresses = on")


@pytest.mark.proves("S4")
def test_two_who_define_at_once_do_not_replace_each_other(db, pg, sim, roles):
    file = definition(sim, base_url="https://api.bookshop.example/v1")
    rival, loader = db.session(roles["rival"]), db.session(roles["loader"])
    loader.run("BEGIN")
    define(loader, file)
    late = rival.background("SELECT * FROM cloudsync_define_source(%s::jsonb)", json.dumps(file | {"title": "Rival"}))
    waits = "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
    poll(lambda: pg.value(waits, roles["rival"]), "the second definer waits")
    loader.run("COMMIT")
    late.finish()
    assert late.error is not None and late.error.sqlstate == "42501", late.error
    assert pg.value("SELECT title FROM cloudsync.sources WHERE user_defined") == "Bookshop"


def test_a_stored_definition_that_no_longer_holds_hides_no_other(pg, sim):
    sim.seed("bookshop", books=5)
    connect(pg, sim)
    pg.run("""INSERT INTO cloudsync.defined_sources VALUES ('broken', '{"source": "broken"}', 'postgres')""")
    assert pg.column("SELECT source FROM cloudsync.sources WHERE user_defined") == ["bookshop"]
    assert any("broken" in notice.message_primary for notice in pg.warnings())
    with pg.fails("22023") as failure:
        pg.run("CREATE SERVER b FOREIGN DATA WRAPPER cloudsync OPTIONS (source 'broken')")
    assert "broken" in failure.message
    assert pg.refresh_one("shop", "books").inserted == 5
