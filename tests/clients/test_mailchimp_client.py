"""Mailchimp's own Python client reads everything the simulator has."""

import mailchimp_marketing
import pytest
import requests
from mailchimp_marketing.api_client import ApiClientError

KEY = "0123456789abcdef0123456789abcdef-us6"


@pytest.fixture
def account(control):
    control.post(
        "/mailchimp/seed",
        {"lists": 3, "list_members": 260, "campaigns": 25, "conversations": 12, "subscriber_activity": 150, "deleted_percent": 5},
    )
    return control


def client_of(control, monkeypatch, scheme="https", **credentials):
    """The client as it comes, but for the host, which it builds from the key's data center."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", control.addresses["ca"])
    client = mailchimp_marketing.Client(credentials or {"api_key": KEY})
    client.api_client.host = control.addresses["mailchimp"][scheme] + "/3.0"
    return client


def read(call, name, size=100):
    """All records of a list, page by page."""
    records, offset = [], 0
    while True:
        page = call(count=size, offset=offset)
        records += page[name]
        offset += size
        if offset >= page["total_items"]:
            assert len(records) == page["total_items"]
            return records


def bare(records):
    return [{name: value for name, value in record.items() if name != "_links"} for record in records]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("collection", ["lists", "campaigns", "conversations"])
def test_lists_are_the_ledger(account, monkeypatch, scheme, collection):
    client = client_of(account, monkeypatch, scheme)
    calls = {"lists": client.lists.get_all_lists, "campaigns": client.campaigns.list, "conversations": client.conversations.list}
    found = bare(read(calls[collection], collection, 7))
    assert {record["id"]: record for record in found} == account.ledger("mailchimp", collection)
    assert len(found) > 1


def test_members_of_all_lists_are_the_ledger(account, monkeypatch):
    client = client_of(account, monkeypatch)
    assert client.api_client.server == "us6"
    found = {}
    for listed in client.lists.get_all_lists(count=1000)["lists"]:
        for member in bare(read(lambda **page: client.lists.get_list_members_info(listed["id"], **page), "members")):
            found[f"{member['list_id']}:{member['id']}"] = member
    # Archived ones are members of a status of their own; those of a deleted list are gone.
    assert found == account.ledger("mailchimp", "list_members", deleted=True)
    assert {"archived", "subscribed"} <= {member["status"] for member in found.values()}


def test_activity_of_all_campaigns_is_the_ledger(account, monkeypatch):
    client = client_of(account, monkeypatch, access_token="sim-access")
    found = set()
    for campaign in client.campaigns.list(count=1000, status="sent")["campaigns"]:
        call = lambda **page: client.reports.get_email_activity_for_campaign(campaign["id"], **page)  # noqa: B023, E731
        for email in read(call, "emails"):
            found |= {(email["campaign_id"], email["email_id"], done["action"], done["timestamp"]) for done in email["activity"]}
    campaigns = account.ledger("mailchimp", "campaigns")
    rows = account.ledger("mailchimp", "subscriber_activity", deleted=True).values()
    want = {(row["campaign_id"], row["email_id"], row["action"], row["timestamp"]) for row in rows if row["campaign_id"] in campaigns}
    assert found == want and found


def test_changes_since_a_time(account, monkeypatch):
    client = client_of(account, monkeypatch)
    key, member = next(iter(account.ledger("mailchimp", "list_members").items()))
    changed = account.patch(f"/mailchimp/list_members/{key}", {"merge_fields": {"FNAME": "Zoë"}})
    answer = client.lists.get_list_members_info(member["list_id"], since_last_changed=member["last_changed"], sort_field="last_changed", count=1000)
    assert answer["members"][-1]["merge_fields"]["FNAME"] == "Zoë"
    assert answer["members"][-1]["last_changed"] == changed["last_changed"]


def test_errors_reach_the_client(account, monkeypatch):
    client = client_of(account, monkeypatch, api_key="other-us6")
    with pytest.raises(ApiClientError) as refused:
        client.ping.get()
    assert refused.value.status_code == 401 and "API Key Invalid" in str(refused.value.text)
    client = client_of(account, monkeypatch)
    assert client.ping.get()["health_status"] == "Everything's Chimpy!"
    assert client.root.get_root()["account_name"] == "Sim"
    with pytest.raises(ApiClientError) as missing:
        client.lists.get_list("0000000000")
    assert missing.value.status_code == 404


def test_ten_at_once(account):
    """A gate holds ten requests; an eleventh is refused at once."""
    import threading

    url = account.addresses["mailchimp"]["http"] + "/3.0/lists"
    account.post("/mailchimp/gates", {"match": {"path_prefix": "/3.0/lists"}, "times": 10})
    gate = account.post("/mailchimp/gates", {"match": {"path_prefix": "/3.0/never"}})["id"] - 1
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(requests.get(url, auth=("x", KEY), timeout=10).status_code)) for _ in range(10)]
    for thread in threads:
        thread.start()
    assert account.get(f"/gates/{gate}", wait_for=10)["waiting"] == 10
    eleventh = requests.get(url, auth=("x", KEY), timeout=10)
    assert (eleventh.status_code, eleventh.json()["title"]) == (429, "Too Many Requests")
    assert "Retry-After" not in eleventh.headers
    account.post(f"/gates/{gate}/release")
    for thread in threads:
        thread.join()
    assert statuses == [200] * 10
