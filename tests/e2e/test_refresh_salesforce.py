"""What a refresh of Salesforce leaves in the table, and what it costs in calls."""

import datetime

import pytest

from session import row_versions

FOUR = ["accounts", "contacts", "leads", "opportunities"]


@pytest.mark.proves("D1", "D9")
def test_a_first_refresh_stores_every_record_as_it_was_sent(pg, sim, apps):
    sim.seed("salesforce", accounts=120, contacts=80, leads=60, opportunities=90)
    apps.connect(pg, "salesforce", FOUR)
    for outcome in pg.refresh("salesforce"):
        assert (outcome.status, outcome.mode) == ("ok", "full"), outcome
    for collection in FOUR:
        apps.assert_like_ledger(pg, "salesforce", collection)


@pytest.mark.proves("D8")
def test_a_second_refresh_asks_once_a_collection_and_writes_nothing(pg, sim, apps):
    sim.seed("salesforce", accounts=50, contacts=40, leads=30, opportunities=20)
    apps.connect(pg, "salesforce", FOUR)
    pg.refresh("salesforce")
    before = {c: row_versions(pg, f"salesforce.{c}") for c in FOUR}
    sim.clear_requests("salesforce")
    for outcome in pg.refresh("salesforce"):
        assert (outcome.status, outcome.mode) == ("ok", "incremental"), outcome
        assert (outcome.inserted, outcome.updated, outcome.deleted) == (0, 0, 0), outcome
        assert outcome.calls == 1, outcome
    calls = sim.requests("salesforce")
    assert len(calls) == len(FOUR), calls
    assert all("/queryAll" in call["path"] for call in calls)
    assert {c: row_versions(pg, f"salesforce.{c}") for c in FOUR} == before


@pytest.mark.proves("D8", "P6")
def test_a_refresh_costs_one_query_and_its_pages(pg, sim, apps):
    sim.seed("salesforce", accounts=450)
    sim.config("salesforce", page_size=200)
    apps.connect(pg, "salesforce", ["accounts"])
    sim.clear_requests("salesforce")
    outcome = pg.refresh_one("salesforce", "accounts")
    pages = apps.data_requests("salesforce")
    assert len(pages) == 3
    assert len([p for p in pages if p.get("soql")]) == 1
    assert outcome.inserted == 450
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("D1", "C09")
def test_changes_additions_and_deletions_arrive(pg, sim, apps):
    sim.seed("salesforce", accounts=40)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    first, second, third, *_ = sim.ids("salesforce", "accounts")
    sim.change("salesforce", "accounts", first, {"Name": "Renamed & Söhne"})
    sim.remove("salesforce", "accounts", second)
    sim.remove("salesforce", "accounts", third)
    sim.create("salesforce", "accounts", {"Name": "Newcomer"})
    outcome = pg.refresh_one("salesforce", "accounts")
    assert (outcome.mode, outcome.inserted, outcome.deleted) == ("incremental", 1, 2), outcome
    stored = apps.assert_like_ledger(pg, "salesforce", "accounts")
    assert stored[first].name == "Renamed & Söhne"
    assert stored[second].is_deleted and stored[third].is_deleted


@pytest.mark.proves("C09")
def test_a_deleted_record_that_comes_back_is_no_longer_marked(pg, sim, apps):
    sim.seed("salesforce", leads=5)
    apps.connect(pg, "salesforce", ["leads"])
    pg.refresh_one("salesforce", "leads")
    key = sim.ids("salesforce", "leads")[0]
    sim.remove("salesforce", "leads", key)
    pg.refresh_one("salesforce", "leads")
    assert pg.value("SELECT is_deleted FROM salesforce.leads WHERE id = %s", key) is True
    sim.undelete("salesforce", "leads", key)
    pg.refresh_one("salesforce", "leads")
    assert pg.value("SELECT is_deleted FROM salesforce.leads WHERE id = %s", key) is False
    apps.assert_like_ledger(pg, "salesforce", "leads")


@pytest.mark.proves("C09", "D5")
def test_a_hard_deleted_record_is_marked_by_a_reconcile(pg, sim, apps):
    sim.seed("salesforce", leads=6)
    apps.connect(pg, "salesforce", ["leads"])
    pg.refresh_one("salesforce", "leads")
    key = sim.ids("salesforce", "leads")[0]
    sim.remove("salesforce", "leads", key, hard=True)
    pg.refresh_one("salesforce", "leads")
    outcome = pg.row("SELECT * FROM cloudsync_reconcile('salesforce', 'leads')")
    assert (outcome.status, outcome.deleted) == ("ok", 1), outcome
    assert pg.column("SELECT id FROM salesforce.leads WHERE is_deleted") == [key]


@pytest.mark.proves("C09")
def test_hard_deletes_are_found_by_a_refresh_when_asked_for(pg, sim, apps):
    sim.seed("salesforce", leads=6)
    apps.server(pg, "salesforce", hard_deletes="on")
    pg.refresh_one("salesforce", "leads")
    key = sim.ids("salesforce", "leads")[0]
    sim.clock(120)  # the app wants more than a minute between start and end
    sim.remove("salesforce", "leads", key, hard=True)
    sim.clock(240)
    outcome = pg.refresh_one("salesforce", "leads")
    assert outcome.deleted == 1, outcome
    assert pg.column("SELECT id FROM salesforce.leads WHERE is_deleted") == [key]


@pytest.mark.proves("D4", "C04")
def test_records_that_become_visible_late_with_an_old_stamp_are_not_lost(pg, sim, apps):
    sim.seed("salesforce", accounts=10)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    # Stamped now, visible to queries four minutes later: after a refresh that saw newer stamps.
    sim.config("salesforce", late_visibility_ms=240_000)
    sim.create("salesforce", "accounts", {"Name": "Long transaction"})
    sim.config("salesforce", late_visibility_ms=0)
    sim.clock(120)
    sim.create("salesforce", "accounts", {"Name": "Short transaction"})
    pg.refresh_one("salesforce", "accounts")
    sim.clock(300)
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("D3", "C05")
def test_a_record_stamped_in_the_future_does_not_hide_later_changes(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.connect(pg, "salesforce", ["accounts"])
    sim.clock(86_400)
    sim.create("salesforce", "accounts", {"Name": "From tomorrow"})
    sim.clock(0)
    pg.refresh_one("salesforce", "accounts")
    key = sim.create("salesforce", "accounts", {"Name": "From today"})
    pg.refresh_one("salesforce", "accounts")
    assert key
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("C04")
def test_many_records_with_one_stamp_straddle_pages_without_loss(pg, sim, apps):
    # The seed gives a bulk import one stamp for all; a page holds fewer than share it.
    sim.seed("salesforce", accounts=30)
    keys = sim.ids("salesforce", "accounts")
    sim.config("salesforce", page_size=200)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    for key in keys:
        sim.change("salesforce", "accounts", key, {"Industry": "Energy"})
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


def test_the_lower_bound_is_inclusive_and_steps_back(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.server(pg, "salesforce", overlap_seconds="900")
    pg.refresh_one("salesforce", "accounts")
    sim.clear_requests("salesforce")
    pg.refresh_one("salesforce", "accounts")
    (query,) = apps.data_requests("salesforce")
    assert "SystemModstamp >= " in query["soql"]
    bound = query["soql"].split("SystemModstamp >= ")[1].split()[0].rstrip(")")
    asked = datetime.datetime.fromisoformat(bound.replace("Z", "+00:00"))
    assert asked <= datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=899)


def test_describe_is_not_asked_again_by_every_run(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    sim.clear_requests("salesforce")
    for _ in range(3):
        pg.refresh_one("salesforce", "accounts")
    assert [r for r in sim.requests("salesforce") if r["path"].endswith("/describe")] == []


def test_one_access_token_serves_runs_and_sessions_until_it_expires(pg, db, sim, apps):
    sim.seed("salesforce", accounts=5)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    sim.clear_requests("salesforce")
    pg.refresh_one("salesforce", "accounts")
    db.session().refresh_one("salesforce", "accounts")
    assert sim.requests("salesforce", path="/oauth2/token") == []


@pytest.mark.proves("A01")
def test_a_token_that_expires_in_mid_run_is_renewed_once(pg, sim, apps):
    sim.seed("salesforce", accounts=600)
    sim.config("salesforce", page_size=200)
    apps.connect(pg, "salesforce", ["accounts"])
    sim.clear_requests("salesforce")
    sim.fault(
        "salesforce",
        "status",
        {"path_prefix": "/services/data", "contains": "query", "skip": 1},
        status=401,
        body=[{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
    )
    pg.refresh_one("salesforce", "accounts")
    assert len(sim.requests("salesforce", path="/oauth2/token")) == 1
    apps.assert_like_ledger(pg, "salesforce", "accounts")


def test_the_daily_quota_is_read_from_the_replies(pg, sim, apps):
    sim.seed("salesforce", accounts=5)
    sim.config("salesforce", daily_quota=5000)
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    usage = pg.rows("SELECT * FROM cloudsync.api_usage WHERE server = 'salesforce'")
    assert sum(row.calls for row in usage) >= 1
    assert any(5000 in row for row in usage), usage


@pytest.mark.proves("H06", "P6")
def test_a_share_of_the_daily_quota_stays_free_for_others(pg, sim, apps):
    sim.seed("salesforce", accounts=2000)
    sim.config("salesforce", page_size=200, daily_quota=12)
    apps.server(pg, "salesforce", quota_reserve_percent="50")
    (outcome,) = pg.refresh("salesforce", "accounts")
    assert outcome.status == "deferred", outcome
    assert outcome.sqlstate == "53400"
    # Half of the day's calls, and the one that was on its way when the answer said so.
    assert len(sim.requests("salesforce", path="/services/data")) <= 7
    sim.clear_requests("salesforce")
    (again,) = pg.refresh("salesforce", "accounts")
    assert (again.status, again.calls) == ("deferred", 0), again
    assert sim.requests("salesforce") == []


def test_collections_the_app_cannot_serve_say_why(pg, sim, apps):
    apps.server(pg, "salesforce")
    (outcome,) = pg.refresh("salesforce", "names")
    assert outcome.status == "skipped", outcome
    assert outcome.message
    (outcome,) = pg.refresh("salesforce", "account_tags")
    assert outcome.status in ("skipped", "failed"), outcome
    assert "feature is off" in outcome.message or outcome.hint, outcome


def test_custom_objects_and_custom_fields_are_read(pg, sim, apps):
    sim.post(
        "/salesforce/objects/Rocket__c",
        {
            "fields": [
                {"name": "Thrust__c", "type": "double"},
                {"name": "Pilot__c", "type": "string", "length": 80},
                {"name": "Launched__c", "type": "datetime"},
            ]
        },
    )
    sim.post("/salesforce/objects/Account", {"fields": [{"name": "Tier__c", "type": "picklist"}]})
    apps.server(pg, "salesforce")
    pg.run(
        "CREATE SCHEMA salesforce_live",
        "IMPORT FOREIGN SCHEMA salesforce LIMIT TO (accounts, rocket__c) FROM SERVER salesforce INTO salesforce_live",
    )
    sim.create("salesforce", "Rocket__c", {"Name": "Saturn", "Thrust__c": 33850.5, "Pilot__c": "Neil"})
    sim.create("salesforce", "accounts", {"Name": "Gold customer", "Tier__c": "Gold"})
    assert pg.row("SELECT thrust_c, pilot_c FROM salesforce_live.rocket__c")[1] == "Neil"
    pg.refresh_one("salesforce", "rocket_c")
    pg.refresh_one("salesforce", "accounts")
    assert pg.value("SELECT thrust_c FROM salesforce.rocket_c") == 33850.5
    assert pg.value("SELECT tier_c FROM salesforce.accounts") == "Gold"


def test_client_credentials_work_as_well(pg, sim, apps):
    sim.seed("salesforce", accounts=3)
    apps.server(pg, "salesforce", credentials={"client_id": "sim-client", "client_secret": "sim-secret"})
    pg.refresh_one("salesforce", "accounts")
    (token,) = sim.requests("salesforce", path="/oauth2/token")
    assert "client_credentials" in token["body"]


def test_a_wide_object_is_read_in_parts_and_merged(pg, sim, apps):
    fields = [{"name": f"Quite_A_Long_Custom_Field_Name_{n:03}__c", "type": "string", "length": 80} for n in range(450)]
    sim.post("/salesforce/objects/Account", {"fields": fields})
    sim.seed("salesforce", accounts=30)
    sim.create("salesforce", "accounts", {"Name": "Wide", fields[0]["name"]: "first", fields[-1]["name"]: "last"})
    apps.server(pg, "salesforce")
    outcome = pg.refresh_one("salesforce", "accounts")
    assert outcome.inserted == 31
    assert [r for r in sim.requests("salesforce") if r["status"] == 414] == []
    apps.assert_like_ledger(pg, "salesforce", "accounts")


def test_a_large_first_load_goes_through_a_bulk_job(pg, sim, apps):
    sim.seed("salesforce", accounts=700)
    sim.config("salesforce", page_size=200)
    apps.server(pg, "salesforce", bulk_threshold="500")
    outcome = pg.refresh_one("salesforce", "accounts")
    assert outcome.inserted == 700
    assert sim.requests("salesforce", path="/jobs/query")
    apps.assert_like_ledger(pg, "salesforce", "accounts", ignore=("billing_address", "shipping_address"))
    sim.clear_requests("salesforce")
    assert pg.refresh_one("salesforce", "accounts").mode == "incremental"
    assert sim.requests("salesforce", path="/jobs/query") == []


@pytest.mark.proves("C08")
def test_every_collection_of_the_catalog_can_be_refreshed(pg, sim, apps):
    sim.config("salesforce", tags=True)
    collections = pg.column("SELECT collection FROM cloudsync.collections WHERE source = 'salesforce' ORDER BY 1")
    sim.seed("salesforce", **{c: 3 for c in collections if c != "names"})
    apps.server(pg, "salesforce")
    wrong = []
    for collection in collections:
        (outcome,) = pg.refresh("salesforce", collection)
        if collection == "names":
            assert outcome.status == "skipped", outcome
        elif outcome.status != "ok" or outcome.inserted < 3:
            wrong.append((collection, outcome.status, outcome.inserted, outcome.message, outcome.hint))
        else:
            apps.assert_like_ledger(pg, "salesforce", collection)
    assert wrong == []
