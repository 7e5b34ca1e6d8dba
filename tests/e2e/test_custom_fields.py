"""Fields that one account has beside those of everybody: columns from the start, and what becomes of one that is added later."""

import json

import pytest


class Salesforce:
    source, collection = "salesforce", "accounts"
    options = {}
    seeds = {"accounts": 12}
    own = set()
    in_extra = "extra ->> 'Region__c'"
    column = "region_c"
    # Only asking tells of a new field: a record holds what it was asked for.
    is_seen_in_records = False

    def add(self, sim):
        sim.post("/salesforce/objects/Account", {"fields": [{"name": "Region__c", "type": "string", "length": 40}]})

    def value(self, text):
        return {"Region__c": text}

    def is_describe(self, request):
        return request["path"].endswith("/describe")


class Hubspot:
    source, collection = "hubspot", "deals"
    options = {"requests_per_second": "0"}
    seeds = {"deals": 12}
    own = {"renewal_date", "customer_score", "is_beta_tester", "interests", "portal_note", "last_seen_in_store"}
    in_extra = "extra #>> '{properties,region}'"
    column = "region"
    is_seen_in_records = False

    def add(self, sim):
        sim.post("/hubspot/objects/deals/properties", {"name": "region"})

    def value(self, text):
        return {"region": text}

    def is_describe(self, request):
        return "/crm/v3/properties/" in request["path"]


class Zendesk:
    source, collection = "zendesk", "users"
    options = {"requests_per_second": "0", "subdomain": "sim"}
    seeds = {"users": 12}
    own = {"plan"}
    in_extra = "extra #>> '{user_fields,region}'"
    column = "region"
    is_seen_in_records = True

    def add(self, sim):
        sim.post("/zendesk/user_fields", {"key": "region", "type": "text"})

    def value(self, text):
        return {"user_fields": {"region": text}}

    def is_describe(self, request):
        return request["path"].endswith("/user_fields")


class Intercom:
    source, collection = "intercom", "users"
    options = {"requests_per_second": "0"}
    seeds = {"users": 12}
    own = {"plan_tier", "seat_count", "trial_ends_at"}
    in_extra = "extra #>> '{custom_attributes,region}'"
    column = "region"
    is_seen_in_records = True

    def add(self, sim):
        sim.post("/intercom/data_attributes", {"model": "contact", "name": "region", "data_type": "string"})

    def value(self, text):
        return {"custom_attributes": {"region": text}}

    def is_describe(self, request):
        return request["path"] == "/data_attributes"


class Account:
    """One collection of an app, with what a test does to it."""

    def __init__(self, app, pg, sim, apps):
        self.app, self.pg, self.sim, self.apps = app, pg, sim, apps
        self.source, self.collection, self.column = app.source, app.collection, app.column
        self.table = f"{app.source}.{app.collection}"
        self.live = f"{app.source}_live.{app.collection}"
        self.seconds = 0
        if app.source == "zendesk":
            sim.config("zendesk", export_per_minute=0, calls_per_minute=0)
            sim.post("/zendesk/user_fields", {"key": "plan", "type": "dropdown"})
        sim.seed(app.source, **app.seeds)

    def connect(self, **options):
        self.apps.connect_in_one_call(self.pg, self.source, [self.collection], **self.app.options, **options)
        self.refresh()
        self.sim.clear_requests(self.source)

    def set_option(self, name, value, verb="ADD"):
        self.pg.run(f"ALTER SERVER {self.source} OPTIONS ({verb} {name} '{value}')")

    def refresh(self):
        """One refresh."""
        if self.source == "zendesk":
            # Exports leave out the last minute. Others are asked up to our own clock.
            self.seconds += 120
            self.sim.clock(self.seconds)
        (outcome,) = self.pg.refresh(self.source, self.collection)
        return outcome

    def refresh_well(self):
        outcome = self.refresh()
        assert outcome.status == "ok", outcome
        return outcome

    def look_again(self):
        """As if a day had passed since the app was asked, where no record tells of a new field."""
        if not self.app.is_seen_in_records:
            self.pg.run("UPDATE cloudsync.collection_state SET described_at = now() - interval '2 days'")

    def ids(self):
        return [str(key) for key in self.sim.ids(self.source, self.collection)]

    def change(self, key, fields, silent=False):
        self.sim.patch(f"/{self.source}/{self.collection}/{key}" + ("?silent=true" if silent else ""), fields)

    def columns(self, relation):
        return self.pg.column(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", relation
        )

    def described(self):
        return [request for request in self.sim.requests(self.source) if self.app.is_describe(request)]

    def read(self):
        token = ("/oauth", "/token")
        found = self.sim.requests(self.source)
        return [r for r in found if not self.app.is_describe(r) and not any(t in r["path"] for t in token) and r["path"] != "/me"]

    def stored(self, expression, key):
        return self.pg.value(f"SELECT {expression} FROM {self.table} WHERE id::text = %s", key)


def account_of(app, pg, sim, apps):
    return Account(app(), pg, sim, apps)


@pytest.fixture(params=[Salesforce, Hubspot, Zendesk, Intercom], ids=lambda app: app.source)
def account(request, pg, sim, apps):
    return account_of(request.param, pg, sim, apps)


@pytest.fixture
def hubspot(pg, sim, apps):
    return account_of(Hubspot, pg, sim, apps)


@pytest.fixture
def intercom(pg, sim, apps):
    return account_of(Intercom, pg, sim, apps)


def test_the_accounts_own_fields_are_columns_from_the_start(account):
    account.connect()
    assert account.app.own <= set(account.columns(account.live))
    assert account.app.own <= set(account.columns(account.table))
    for column in account.app.own - {"portal_note", "interests", "renewal_date", "customer_score", "is_beta_tester", "last_seen_in_store"}:
        assert account.pg.value(f"SELECT count({column}) FROM {account.table}") > 0, column


def test_a_new_field_becomes_a_column_in_the_next_refresh(account):
    account.connect()
    account.app.add(account.sim)
    account.look_again()
    key = account.ids()[0]
    account.change(key, account.app.value("EMEA"))
    outcome = account.refresh_well()
    assert account.column in outcome.message and "cloudsync_backfill" in outcome.message
    assert account.column in account.columns(account.live)
    assert account.stored(account.column, key) == "EMEA"
    assert account.stored(account.app.in_extra, key) is None
    assert len(account.described()) == 1
    account.sim.clear_requests(account.source)
    account.refresh_well()
    assert account.described() == []


def test_a_new_field_stays_in_extra_when_that_is_wanted_until_it_is_not(account):
    account.connect(schema_changes="extra")
    account.app.add(account.sim)
    account.look_again()
    key = account.ids()[0]
    account.change(key, account.app.value("EMEA"))
    account.refresh_well()
    assert account.column not in account.columns(account.table)
    assert account.stored(account.app.in_extra, key) == "EMEA"
    account.set_option("schema_changes", "add", "SET")
    account.set_option("describe_hours", "0")
    account.refresh_well()
    assert account.column in account.columns(account.table)
    (filled,) = account.pg.rows("SELECT * FROM cloudsync_backfill(%s, %s, %s)", account.source, account.collection, account.column)
    assert filled.status == "ok", filled
    assert account.stored(account.column, key) == "EMEA"
    assert account.stored(account.app.in_extra, key) is None, "stored once"


def test_a_new_field_stops_the_collection_when_that_is_wanted(account):
    account.connect(schema_changes="fail")
    account.app.add(account.sim)
    account.look_again()
    key = account.ids()[0]
    account.change(key, account.app.value("EMEA"))
    outcome = account.refresh()
    assert outcome.status in ("failed", "partial") and outcome.sqlstate == "HV021", outcome
    assert account.column in outcome.message and "schema_changes" in outcome.hint
    account.sim.clear_requests(account.source)
    again = account.refresh()
    assert again.status == "failed" and again.sqlstate == "HV021", again
    assert account.read() == [], "what fails anyway is not read"
    account.pg.run(outcome.hint.split("Run ")[1].split("; or")[0])
    account.refresh_well()
    assert account.stored(account.column, key) == "EMEA"


def test_a_backfill_fills_one_column_of_what_is_there(account):
    account.connect(describe_hours="0")
    account.app.add(account.sim)
    chosen = account.ids()[:3]
    for number, key in enumerate(chosen):
        account.change(key, account.app.value(f"R{number}"), silent=True)
    account.refresh_well()
    before = account.pg.row("SELECT checkpoint, position, synced_at FROM cloudsync.collection_state")
    known = account.pg.value(f"SELECT count({account.column}) FROM {account.table}")
    newer = chosen[2]
    account.pg.run(f"UPDATE {account.table} SET record_version = now() + interval '9 years', {account.column} = 'mine' WHERE id::text = '{newer}'")
    account.set_option("describe_hours", "24", "SET")
    account.sim.clear_requests(account.source)
    call = "SELECT * FROM cloudsync_backfill(%s, %s, %s)"
    (outcome,) = account.pg.rows(call, account.source, account.collection, account.column)
    assert (outcome.status, outcome.mode, outcome.stale, outcome.inserted) == ("ok", "backfill", 1, 0), outcome
    assert outcome.fetched == outcome.updated + outcome.unchanged + outcome.stale
    assert outcome.updated <= 2 and outcome.updated >= 2 - known
    assert [account.stored(account.column, key) for key in chosen] == ["R0", "R1", "mine"]
    assert account.pg.row("SELECT checkpoint, position, synced_at FROM cloudsync.collection_state") == before
    calls = account.read()
    assert len(calls) == 1, calls
    # Intercom's searches go by the workspace's days: its zone is asked for.
    assert outcome.calls == (2 if account.source == "intercom" else 1), outcome
    if account.source == "salesforce":
        asked = calls[0]["soql"].split(" FROM ")[0]
        assert "Region__c" in asked and "Industry" not in asked, asked
    elif account.source == "hubspot":
        assert "region" in calls[0]["query"] and "dealname" not in calls[0]["query"]
    else:
        assert "all their fields" in outcome.message
    (again,) = account.pg.rows(call, account.source, account.collection, account.column)
    assert (again.updated, again.stale) == (0, 1), again


def test_a_backfill_says_which_columns_there_are(hubspot):
    hubspot.connect()
    with hubspot.pg.fails("42703") as failure:
        hubspot.pg.rows("SELECT * FROM cloudsync_backfill('hubspot', 'deals', 'regoin')")
    assert "dealname" in failure.hint
    with hubspot.pg.fails("42703"):
        hubspot.pg.rows("SELECT * FROM cloudsync_backfill('hubspot', 'deals', 'id')")
    assert hubspot.sim.requests("hubspot") == []


def test_a_field_that_is_archived_keeps_its_column_and_its_values(hubspot):
    hubspot.connect(describe_hours="0")
    key = hubspot.ids()[0]
    hubspot.change(key, {"portal_note": "remember"})
    hubspot.refresh_well()
    hubspot.sim.delete("/hubspot/objects/deals/properties/portal_note")
    outcome = hubspot.refresh_well()
    assert "portal_note" in outcome.message
    assert "portal_note" not in hubspot.columns(hubspot.live)
    assert hubspot.stored("portal_note", key) == "remember"
    hubspot.sim.post("/hubspot/objects/deals/properties", {"name": "portal_note"})
    hubspot.change(key, {"portal_note": "again"})
    hubspot.refresh_well()
    assert hubspot.stored("portal_note", key) == "again", "it has its old column"


def test_a_field_that_changes_its_type_keeps_its_column(hubspot):
    hubspot.connect(describe_hours="0")
    key = hubspot.ids()[0]
    hubspot.sim.delete("/hubspot/objects/deals/properties/customer_score")
    hubspot.sim.post("/hubspot/objects/deals/properties", {"name": "customer_score", "type": "string"})
    hubspot.change(key, {"customer_score": "very high"})
    outcome = hubspot.refresh_well()
    assert "customer_score is now text, before numeric" in outcome.message
    assert hubspot.stored("customer_score", key) is None
    assert hubspot.stored("extra #>> '{properties,customer_score}'", key) == "very high"


def test_a_new_field_leaves_a_users_column_of_its_name_alone(hubspot):
    hubspot.connect(describe_hours="0")
    hubspot.pg.run("ALTER TABLE hubspot.deals ADD COLUMN region text DEFAULT 'mine'")
    hubspot.app.add(hubspot.sim)
    key = hubspot.ids()[0]
    hubspot.change(key, {"region": "EMEA"})
    hubspot.refresh_well()
    (named,) = [name for name in hubspot.columns(hubspot.table) if name.startswith("region_")]
    assert len(named) == len("region_") + 8
    assert hubspot.stored(named, key) == "EMEA"
    assert hubspot.stored("region", key) == "mine"


def test_a_name_too_long_for_postgres_ends_in_a_hash(hubspot):
    hubspot.connect(describe_hours="0")
    for end in ("one", "two"):
        hubspot.sim.post("/hubspot/objects/deals/properties", {"name": "a" * 80 + end})
    hubspot.refresh_well()
    long = [name for name in hubspot.columns(hubspot.table) if name.startswith("aaaa")]
    assert [len(name) for name in long] == [63, 63] and len(set(long)) == 2


def test_a_key_that_the_app_does_not_describe_is_asked_about_once(intercom):
    intercom.connect()
    key = intercom.ids()[0]
    intercom.change(key, {"custom_attributes": {"forgotten": "x"}})
    intercom.refresh_well()
    assert len(intercom.described()) == 1
    assert intercom.stored("extra #>> '{custom_attributes,forgotten}'", key) == "x"
    intercom.change(key, {"custom_attributes": {"forgotten": "y"}})
    intercom.refresh_well()
    assert len(intercom.described()) == 1


def test_who_may_not_see_what_fields_there_are_reads_the_others(hubspot):
    status = json.dumps({"status": "error", "category": "MISSING_SCOPES", "message": "missing scopes"})
    hubspot.connect(describe_hours="0")
    hubspot.sim.fault("hubspot", "status", {"path_prefix": "/crm/v3/properties"}, times=0, status=403, body=status)
    key = hubspot.ids()[0]
    hubspot.change(key, {"dealname": "Seen all the same"})
    outcome = hubspot.refresh_well()
    assert "only those known are read" in outcome.message
    assert hubspot.stored("dealname", key) == "Seen all the same"
    assert "customer_score" in hubspot.columns(hubspot.live)


def test_a_quiet_refresh_does_not_ask_what_fields_there_are(account):
    account.connect()
    account.refresh_well()
    account.sim.clear_requests(account.source)
    outcome = account.refresh_well()
    assert account.described() == []
    assert outcome.updated == outcome.inserted == 0
    # HubSpot: the search, and what is archived.
    assert len(account.read()) == (2 if account.source == "hubspot" else 1)


def test_tables_are_made_without_the_right_to_ask_for_fields(hubspot):
    """By either way of making them: with the columns of the source file, and a word about it."""
    status = json.dumps({"status": "error", "category": "MISSING_SCOPES", "message": "missing scopes"})
    hubspot.sim.fault("hubspot", "status", {"path_prefix": "/crm/v3/properties"}, times=0, status=403, body=status)
    (made,) = hubspot.apps.connect_in_one_call(hubspot.pg, "hubspot", ["deals"])
    assert "without the account's own fields" in made.message
    hubspot.pg.run("CREATE SCHEMA by_hand", "IMPORT FOREIGN SCHEMA hubspot LIMIT TO (deals, contacts) FROM SERVER hubspot INTO by_hand")
    told = [w.message_primary for w in hubspot.pg.warnings() if "own fields" in w.message_primary]
    assert [message.split()[1] for message in told] == ["deals", "contacts"] and "Missing scopes" in told[0]
    columns = hubspot.columns("by_hand.deals")
    assert "dealname" in columns and "customer_score" not in columns
    assert hubspot.pg.value("SELECT count(*) FROM by_hand.deals") == len(hubspot.ids())


def test_a_load_by_a_job_keeps_fields_in_extra_as_a_query_does(pg, sim, apps):
    """Salesforce: a first load of many records goes through a Bulk job, later runs through queries."""
    account = account_of(Salesforce, pg, sim, apps)
    account.connect(schema_changes="extra", bulk_threshold="5")
    account.app.add(account.sim)
    account.look_again()
    key = account.ids()[0]
    account.change(key, account.app.value("EMEA"))
    account.refresh_well()
    assert account.stored(account.app.in_extra, key) == "EMEA"
    sim.config("salesforce", page_size=3)
    pg.run(f"SELECT cloudsync_reset('salesforce', '{account.collection}')")
    account.sim.clear_requests("salesforce")
    outcome = account.refresh_well()
    assert any("/jobs/query" in request["path"] for request in account.sim.requests("salesforce"))
    assert account.stored(account.app.in_extra, key) == "EMEA"
    assert outcome.updated == 0, "a job's rows are those that queries gave"
