"""Sources that are files of facts only fill tables as the first two do: every collection, then what changed, then nothing."""

import re

import pytest

from session import assert_counts_add_up
from simulator import ROOT

# source: its server options, credentials, what is seeded, and the collections compared with the ledger by number.
SOURCES = {
    "zendesk": (
        {"subdomain": "sim", "requests_per_second": "0"},
        {"email": "agent@sim.example", "api_token": "sim-token"},
        [{"groups": 5, "organizations": 12, "users": 30, "tickets": 40}],
        ["groups", "organizations", "tickets", "users"],
    ),
    "hubspot": (
        {"requests_per_second": "0"},
        {"access_token": "pat-na1-simulated"},
        [{"owners": 3, "companies": 23, "contacts": 61, "deals": 34}],
        ["companies", "contacts", "deals"],
    ),
    "intercom": (
        {"requests_per_second": "0"},
        {"access_token": "sim-intercom-token"},
        [{"admins": 4, "tags": 6, "segments": 5, "companies": 23, "users": 44, "contacts": 31}, {"conversations": 26}],
        ["admins", "companies", "contacts", "conversations", "users"],
    ),
    "google_ads": (
        {"login_customer_id": "1000000001", "login_url": "{url}", "requests_per_second": "0"},
        {
            "developer_token": "sim-developer",
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "refresh_token": "sim-refresh",
        },
        [{"campaigns": 9, "ad_groups": 14, "ads": 20, "ad_performance_report": 60, "until": "now"}],
        ["campaigns", "ad_groups", "ads", "ad_performance_report"],
    ),
    "mailchimp": (
        {"requests_per_second": "0"},
        {"api_key": "0123456789abcdef0123456789abcdef-us6"},
        [{"lists": 4, "list_members": 60, "campaigns": 14}],
        ["campaigns", "list_members", "lists"],
    ),
    "marketo": (
        {
            "munchkin_id": "123-ABC-456",
            "activity_type_ids": "1,2,3,6,7,8,10,11,12,13,22,24,25,32,104",
            "start_date": "2025-12-01",
            "export_poll_seconds": "1",
            "requests_per_second": "0",
        },
        {"client_id": "sim-client", "client_secret": "sim-secret"},
        [
            {"leads": 40, "lead_activities": 90, "lists": 5, "campaigns": 7},
            {"programs": 9, "email": 12, "landing_pages": 5, "segmentation": 3, "segments": 8},
        ],
        ["lists", "campaigns", "email", "lead_activities", "leads", "programs", "segments"],
    ),
    "salesforce_marketing_cloud": (
        {"subdomain": "mcsim", "auth_url": "{url}", "requests_per_second": "0"},
        {"client_id": "sim-client", "client_secret": "sim-secret"},
        [{"campaigns": 9, "lists": 23, "interactions": 17}, {"campaign_assets": 25}],
        ["campaigns", "campaign_assets", "lists", "interactions", "goals"],
    ),
    "facebook_ads": (
        {"requests_per_second": "0"},
        {"access_token": "sim-token"},
        [{"campaigns": 8, "ad_sets": 16, "ads": 32, "insights": 640, "until": "now"}],
        ["ad_accounts", "ad_sets", "ads", "campaigns", "insights"],
    ),
    "twilio": (
        {"requests_per_second": "0"},
        {"account_sid": "AC0123456789abcdef0123456789abcdef", "auth_token": "sim-auth-token"},
        [{"addresses": 9, "calls": 60, "conferences": 26, "transcriptions": 31, "messages": 70, "until": "now"}],
        ["addresses", "calls", "conferences", "messages", "transcriptions"],
    ),
    "sendgrid": (
        {"requests_per_second": "0"},
        {"api_key": "SG.sim-key"},
        [{"mc_contacts": 130, "mc_lists": 11, "mc_single_sends": 23, "campaigns": 14, "lists": 5, "segments": 6, "recipients": 60}],
        ["mc_contacts", "mc_lists", "mc_single_sends", "campaigns", "lists", "segments", "recipients"],
    ),
}

# One credential of each, spoiled in a form that the app itself has to refuse.
WRONG = {
    "zendesk": {"api_token": "wrong"},
    "hubspot": {"access_token": "pat-na1-wrong"},
    "intercom": {"access_token": "wrong"},
    "google_ads": {"refresh_token": "wrong"},
    "mailchimp": {"api_key": "00000000000000000000000000000000-us6"},
    "salesforce_marketing_cloud": {"client_secret": "wrong"},
    "facebook_ads": {"access_token": "wrong"},
    "twilio": {"auth_token": "wrong"},
    "sendgrid": {"api_key": "SG.wrong"},
}

# A collection whose records can change and go, and a change of one.
CHANGES = {
    "zendesk": ("tickets", {"subject": "Changed"}, "subject"),
    "hubspot": ("deals", {"properties": {"dealname": "Changed"}}, "dealname"),
    "intercom": ("companies", {"name": "Changed"}, "name"),
    "mailchimp": ("list_members", {"vip": True}, "vip"),
    "salesforce_marketing_cloud": ("lists", {"ListName": "Changed"}, "list_name"),
    "facebook_ads": ("ads", {"name": "Changed"}, "name"),
    "twilio": ("addresses", {"city": "Changed"}, "city"),
    "sendgrid": ("mc_contacts", {"city": "Changed"}, "city"),
}

# A collection that the account may not read, how the app says so, and a word of it that must reach the user.
REFUSED = {
    "zendesk": ("audit_logs", "/api/v2/audit_logs", {"error": {"title": "Forbidden", "message": "You do not have access"}}, "You do not have access"),
    "hubspot": (
        "deals",
        "/crm/v3/objects/deals",
        {
            "status": "error", "category": "MISSING_SCOPES", "message": "This app hasn't been granted all required scopes.",
            "errors": [{"message": "One or more of the following scopes are required.", "context": {"requiredGranularScopes": ["crm.objects.deals.read"]}}],
        },
        "scopes",
    ),
    "intercom": ("tags", "/tags", {"type": "error.list", "errors": [{"code": "api_plan_restricted", "message": "Active subscription needed."}]}, "Active subscription needed"),
    "mailchimp": ("conversations", "/3.0/conversations", {"title": "Forbidden", "status": 403, "detail": "Your account may not see this."}, "may not see this"),
    "salesforce_marketing_cloud": ("campaign_assets", "/hub/v1/campaigns/", {"message": "Insufficient Privileges", "errorcode": 403}, "Insufficient Privileges"),
    "twilio": ("messages", "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages", {"code": 20003, "message": "Permission Denied", "status": 403}, "Permission Denied"),
    "sendgrid": ("mc_single_sends", "/v3/marketing/singlesends", {"errors": [{"field": None, "message": "access forbidden"}]}, "Access forbidden"),
}


@pytest.fixture(params=SOURCES)
def connected(request, pg, sim):
    return connect(request.param, pg, sim)


def connect(source, pg, sim):
    options, credentials, seeds, counted = SOURCES[source]
    if source == "zendesk":
        sim.config(source, export_per_minute=0, calls_per_minute=0)
    if source == "facebook_ads":
        # A report run is done at the first look.
        sim.config(source, run_polls=0)
    for seed in seeds:
        sim.seed(source, **seed)
    url = sim.url(source)
    settings = {"base_url": url, **{name: value.replace("{url}", url) for name, value in options.items()}}
    given = ", ".join(f"{name} '{value}'" for name, value in settings.items())
    secrets = ", ".join(f"{name} '{value}'" for name, value in credentials.items())
    pg.run(
        f"CREATE SERVER {source} FOREIGN DATA WRAPPER cloudsync OPTIONS (source '{source}', {given})",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER {source} OPTIONS ({secrets})",
    )
    return source, counted


def served(pg, source, outcomes):
    """The outcomes of what the app serves. What it does not, or tells by webhook, is skipped with the reason."""
    reasons = dict(pg.rows("SELECT collection, unsupported FROM cloudsync.collections WHERE source = %s AND unsupported IS NOT NULL", source))
    for outcome in outcomes:
        if outcome.collection in reasons:
            assert (outcome.status, outcome.sqlstate, outcome.calls) == ("skipped", "0A000", 0), outcome
            assert reasons[outcome.collection].split(":")[0] in outcome.message, outcome
    return [outcome for outcome in outcomes if outcome.collection not in reasons]


@pytest.mark.proves("D1", "D2")
def test_every_collection_is_filled_and_kept(connected, pg, sim):
    source, counted = connected
    for outcome in served(pg, source, pg.refresh(source)):
        assert outcome.status == "ok", outcome
        assert_counts_add_up(outcome)
    for collection in counted:
        alive = sum(not row["deleted"] for row in sim.ledger(source, collection))
        stored = pg.value(f"SELECT count(*) FROM {source}.{collection} WHERE NOT is_deleted")
        assert stored == alive > 0, collection
    again = served(pg, source, pg.refresh(source))
    assert [o for o in again if o.status != "ok" or o.inserted or o.deleted] == []
    for collection in counted:
        live = pg.value(f"SELECT count(*) FROM (SELECT FROM {source}_live.{collection} LIMIT 1) l")
        assert live == 1, collection


@pytest.mark.proves("D1", "D4")
@pytest.mark.parametrize("source", CHANGES)
def test_changes_deletions_and_restores_arrive(source, pg, sim):
    connect(source, pg, sim)
    collection, fields, column = CHANGES[source]
    for outcome in served(pg, source, pg.refresh(source)):
        assert outcome.status == "ok", outcome
    changed, deleted = sim.ids(source, collection)[:2]
    key = " || ':' || ".join(pg.column("SELECT unnest(key) FROM cloudsync.collections WHERE source = %s AND collection = %s", source, collection))

    def stored(record):
        return pg.row(f"SELECT is_deleted, {column} AS value FROM {source}.{collection} WHERE {key}::text = %s", str(record))

    def refreshed():
        if source == "zendesk":
            # Its exports hold the last minute back.
            sim.clock(sim.get("/clock")["offset_seconds"] + 120)
        for outcome in served(pg, source, pg.refresh(source)):
            assert outcome.status == "ok", outcome
            assert_counts_add_up(outcome)

    before = stored(changed).value
    sim.change(source, collection, changed, fields)
    sim.remove(source, collection, deleted)
    refreshed()
    assert stored(changed) == (False, stored(changed).value)
    assert stored(changed).value != before
    assert stored(deleted).is_deleted
    sim.undelete(source, collection, deleted)
    refreshed()
    assert not stored(deleted).is_deleted
    alive = sum(not row["deleted"] for row in sim.ledger(source, collection))
    assert pg.value(f"SELECT count(*) FROM {source}.{collection} WHERE NOT is_deleted") == alive


@pytest.mark.proves("D1")
def test_deals_are_joined_to_their_contacts_and_companies(pg, sim):
    """A set of ids is jsonb, so its operators join by it; a table without it costs no call for it."""
    connect("hubspot", pg, sim)
    for collection in ["companies", "contacts", "deals"]:
        pg.refresh_one("hubspot", collection)
    joined = """SELECT d.id, c.id FROM hubspot.deals d JOIN hubspot.contacts c ON d.associated_vids ? c.id
                WHERE NOT c.is_deleted AND NOT d.is_deleted"""
    before = set(pg.rows(joined))
    deal, contact = min(before)
    sim.call("DELETE", "/hubspot/associations", {"from": "deals", "from_id": deal, "to": "contacts", "to_id": contact})
    others = [d for (d,) in pg.rows("SELECT id FROM hubspot.deals WHERE NOT associated_vids ? %s", contact)]
    sim.call("POST", "/hubspot/associations", {"from": "deals", "from_id": others[0], "to": "contacts", "to_id": contact})
    pg.refresh_one("hubspot", "deals")
    assert set(pg.rows(joined)) == before - {(deal, contact)} | {(others[0], contact)}
    pg.rows("SELECT * FROM cloudsync_reconcile('hubspot', 'deals')")
    assert set(pg.rows(joined)) == before - {(deal, contact)} | {(others[0], contact)}, "a reconcile stores what it reads"
    named = pg.value("SELECT count(*) FROM hubspot.deals d JOIN hubspot.companies c ON d.associated_company_ids ? c.id")
    assert named > 0
    live = "SELECT count(*) FROM hubspot_live.deals WHERE associated_vids ? %s"
    assert pg.value(live, contact) == len([d for d, c in pg.rows(joined) if c == contact])

    pg.run("ALTER FOREIGN TABLE hubspot_live.deals DROP COLUMN associated_vids, DROP COLUMN associated_company_ids")
    sim.change("hubspot", "deals", deal, {"dealname": "Renamed"})
    sim.clear_requests("hubspot")
    pg.refresh_one("hubspot", "deals")
    assert pg.value("SELECT dealname FROM hubspot.deals WHERE id = %s", deal) == "Renamed"
    assert [r["path"] for r in sim.requests("hubspot") if "associations" in r["path"]] == []


@pytest.mark.proves("E4")
@pytest.mark.parametrize("source", REFUSED)
def test_a_collection_that_may_not_be_read_fails_alone(source, pg, sim):
    connect(source, pg, sim)
    refused, path, body, words = REFUSED[source]
    sim.fault(source, "status", {"path_prefix": path}, times=0, status=403, body=body)
    outcomes = {outcome.collection: outcome for outcome in served(pg, source, pg.refresh(source))}
    bad = outcomes.pop(refused)
    assert (bad.status, bad.sqlstate) == ("failed", "42501"), bad
    assert words in bad.message, bad.message
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}, outcomes
    checked = {row.collection: row for row in pg.rows("SELECT * FROM cloudsync_check(%s)", source)}
    assert checked[refused].status == "failed" and words in checked[refused].message, checked[refused]
    assert checked[None].status == "ok", checked[None]


@pytest.mark.proves("E1")
@pytest.mark.parametrize("source", WRONG)
def test_wrong_credentials_stop_everything_after_one_call(source, pg, sim):
    connect(source, pg, sim)
    for name, value in WRONG[source].items():
        pg.run(f"ALTER USER MAPPING FOR CURRENT_USER SERVER {source} OPTIONS (SET {name} '{value}')")
    sim.clear_requests(source)
    outcomes = pg.refresh(source)
    assert {outcome.status for outcome in outcomes} <= {"failed", "skipped"}, outcomes
    assert {outcome.sqlstate for outcome in outcomes if outcome.status == "failed"} == {"28000"}, outcomes
    assert len(sim.requests(source)) == 1, sim.requests(source)
    found = pg.rows("SELECT * FROM cloudsync_check(%s)", source)
    assert found[0].status == "failed" and found[0].sqlstate == "28000", found[0]


CATALOG = next((f for f in [ROOT.parent / "shared/catalog/object", ROOT / "../../shared/catalog/object"] if f.is_dir()), None)


@pytest.mark.skipif(CATALOG is None, reason="no catalog beside this checkout")
def test_every_source_has_the_collections_of_the_catalog(pg):
    names = {
        file.stem: re.findall(r"^ *- name: (\w+)", file.read_text(encoding="utf-8").split("\ncollections:")[1], re.M)
        for file in CATALOG.glob("*.yaml")
    }
    assert len(names) == 13
    offered = dict(pg.rows("SELECT source, count(*) FROM cloudsync.collections GROUP BY 1"))
    assert offered == {source: len(found) for source, found in names.items()}
