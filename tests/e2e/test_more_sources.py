"""Sources that are files of facts only fill tables as the first two do: every collection, then what changed, then nothing."""

import pytest

from session import assert_counts_add_up

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
    "mailchimp": (
        {"requests_per_second": "0"},
        {"api_key": "0123456789abcdef0123456789abcdef-us6"},
        [{"lists": 4, "list_members": 60, "campaigns": 14}],
        ["campaigns", "list_members", "lists"],
    ),
}


@pytest.fixture(params=SOURCES)
def connected(request, pg, sim):
    source = request.param
    options, credentials, seeds, counted = SOURCES[source]
    if source == "zendesk":
        sim.config(source, export_per_minute=0, calls_per_minute=0)
    for seed in seeds:
        sim.seed(source, **seed)
    given = ", ".join(f"{name} '{value}'" for name, value in {"base_url": sim.url(source), **options}.items())
    secrets = ", ".join(f"{name} '{value}'" for name, value in credentials.items())
    pg.run(
        f"CREATE SERVER {source} FOREIGN DATA WRAPPER cloudsync OPTIONS (source '{source}', {given})",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER {source} OPTIONS ({secrets})",
    )
    return source, counted


@pytest.mark.proves("D1", "D2")
def test_every_collection_is_filled_and_kept(connected, pg, sim):
    source, counted = connected
    for outcome in pg.refresh(source):
        assert outcome.status == "ok", outcome
        assert_counts_add_up(outcome)
    for collection in counted:
        alive = sum(not row["deleted"] for row in sim.ledger(source, collection))
        stored = pg.value(f"SELECT count(*) FROM {source}.{collection} WHERE NOT is_deleted")
        assert stored == alive > 0, collection
    again = pg.refresh(source)
    assert [o for o in again if o.status != "ok" or o.inserted or o.deleted] == []
    live = pg.value(f"SELECT count(*) FROM (SELECT FROM {source}_live.{counted[0]} LIMIT 1) l")
    assert live == 1, counted[0]


@pytest.mark.proves("E1")
def test_wrong_credentials_are_told_by_a_check(connected, pg):
    source, _ = connected
    name = next(iter(SOURCES[source][1]))
    wrong = "wrong@sim.example" if name == "email" else "00000000000000000000000000000000-us6" if source == "mailchimp" else "wrong"
    pg.run(f"ALTER USER MAPPING FOR CURRENT_USER SERVER {source} OPTIONS (SET {name} '{wrong}')")
    found = pg.rows("SELECT * FROM cloudsync_check(%s)", source)
    assert found[0].status == "failed" and found[0].sqlstate == "28000", found[0]
