"""marketorestpython reads everything the simulated Marketo has, over TLS, unchanged but for the host it is told."""

import csv
import hashlib
import io
import time

import pytest
from marketorestpython.client import MarketoClient

EVER = "2000-01-01T00:00:00Z"


@pytest.fixture
def instance(control, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", control.addresses["ca"])
    control.post("/marketo/fields/favouriteColour", {"dataType": "string", "displayName": "Favourite Colour"})
    control.post(
        "/marketo/seed",
        {"leads": 420, "lists": 3, "campaigns": 7, "programs": 25, "email": 23, "landing_pages": 4, "segmentation": 2,
         "segments": 9, "lead_activity_types": 1, "lead_activities": 500},
    )
    return control


@pytest.fixture
def client(instance):
    client = MarketoClient("000-SIM-000", "sim-client", "sim-secret", max_retry_time=20, requests_timeout=20)
    client.host = instance.addresses["marketo"]["https"]
    return client


def by_id(records, key="id"):
    return {str(record[key]): record for record in records}


def subset(record, names):
    return {name: record.get(name) for name in names}


def test_leads_are_read_by_filter_and_by_list(client, instance):
    ledger = instance.ledger("marketo", "leads")
    names = ["id", "email", "city", "leadScore", "middleName"]
    found = client.execute("get_multiple_leads_by_filter_type", filterType="id", filterValues=list(ledger)[:250],
                           fields=",".join(names), batchSize=100)
    assert by_id(found) == {i: subset(ledger[i], names) for i in list(ledger)[:250]}
    email = ledger["1001"]["email"]
    assert [lead["id"] for lead in client.execute("get_multiple_leads_by_filter_type", filterType="email", filterValues=email)] == [1001]
    one = client.execute("get_lead_by_id", id=1001, fields="email,middleName")
    assert one == [{"id": 1001, "email": email}]
    instance.post("/marketo/lists/1002/members", {"lead_ids": [1003, 1005]})
    members = client.execute("get_multiple_leads_by_list_id", listId="1002", fields="email")
    assert [lead["id"] for lead in members] == [1003, 1005]


def test_describe_tells_the_fields(client):
    fields = client.execute("describe")
    named = {field["rest"]["name"]: field["dataType"] for field in fields if "rest" in field}
    assert (named["favouriteColour"], named["annualRevenue"], named["createdAt"]) == ("string", "currency", "datetime")
    assert len(named) == len(fields) - 1
    searchable = {names[0] for names in client.execute("describe2")[0]["searchableFields"]}
    assert {"id", "email", "favouriteColour"} <= searchable and "city" not in searchable


def test_lists_and_campaigns_hold_the_ledger(client, instance):
    assert by_id(client.execute("get_multiple_lists", batchSize=2)) == instance.ledger("marketo", "lists")
    assert by_id(client.execute("get_multiple_campaigns", batchSize=3)) == instance.ledger("marketo", "campaigns")


def test_assets_hold_the_ledger(client, instance):
    emails = [email for page in client.execute("get_emails_yield", maxReturn=10) for email in page]
    assert by_id(emails) == instance.ledger("marketo", "email")
    assert by_id(client.execute("browse_programs", maxReturn=10)) == instance.ledger("marketo", "programs")
    assert by_id(client.execute("get_landing_pages", maxReturn=200)) == instance.ledger("marketo", "landing_pages")
    segmentations = client.execute("get_segmentations")
    assert by_id(segmentations) == instance.ledger("marketo", "segmentation")
    segments = [s for parent in segmentations for s in client.execute("get_segments", id=parent["id"])]
    assert by_id(segments) == instance.ledger("marketo", "segments")
    instance.patch("/marketo/programs/1003", {"name": "Renamed"})
    changed = client.execute("browse_programs", maxReturn=200, earliestUpdatedAt="2026-01-02T00:00:00Z")
    assert [program["name"] for program in changed] == ["Renamed"]


def test_activities_are_read_by_token(client, instance):
    ledger = instance.ledger("marketo", "lead_activities")
    types = client.execute("get_activity_types")
    assert by_id(types) == instance.ledger("marketo", "lead_activity_types")
    ids = [str(kind["id"]) for kind in types]
    read = []
    for start in range(0, len(ids), 10):
        read += client.execute("get_lead_activities", activityTypeIds=ids[start:start + 10], sinceDatetime=EVER)
    assert by_id(read, "marketoGUID") == ledger


def test_changes_and_deletions_are_told(client, instance):
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    instance.patch("/marketo/leads/1004", {"city": "Oslo"})
    instance.delete("/marketo/leads/1007")
    changes = client.execute("get_lead_changes", fields=["city"], sinceDatetime=since)
    assert [(c["leadId"], c["fields"][0]["newValue"]) for c in changes if c["activityTypeId"] == 13] == [(1004, "Oslo")]
    assert [gone["leadId"] for gone in client.execute("get_deleted_leads", sinceDatetime=since)] == [1007]


def finished(client, what, job):
    client.execute(f"enqueue_{what}_export_job", job)
    for _ in range(50):
        status = client.execute(f"get_{what}_export_job_status", job)[0]
        if status["status"] not in ("Queued", "Processing"):
            return status
    raise AssertionError(f"job {job} does not end")


def test_bulk_extracts_hold_the_ledger(client, instance):
    window = {"startAt": "2025-12-01T00:00:00Z", "endAt": "2026-01-01T00:00:00Z"}
    job = client.execute("create_leads_export_job", fields=["id", "email", "middleName"], filters={"createdAt": window})
    status = finished(client, "leads", job[0]["exportId"])
    file = client.execute("get_leads_export_job_file", job[0]["exportId"])
    assert status["fileChecksum"] == "sha256:" + hashlib.sha256(file).hexdigest()
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(file.decode()))}
    ledger = instance.ledger("marketo", "leads")
    within = {i for i, lead in ledger.items() if "2025-12-01" <= lead["createdAt"] <= "2026-01-01T00:00:00Z"}
    assert set(rows) == within and len(within) == status["numberOfRecords"]
    assert all(row["email"] == ledger[i]["email"] and row["middleName"] == "null" for i, row in rows.items())

    job = client.execute("create_activities_export_job", filters={"createdAt": window, "activityTypeIds": [1, 10]})
    finished(client, "activities", job[0]["exportId"])
    file = client.execute("get_activities_export_job_file", job[0]["exportId"])
    rows = {row["marketoGUID"]: row for row in csv.DictReader(io.StringIO(file.decode()))}
    ledger = instance.ledger("marketo", "lead_activities")
    assert set(rows) == {
        i for i, a in ledger.items() if a["activityTypeId"] in (1, 10) and "2025-12-01" <= a["activityDate"] <= window["endAt"]
    }


def test_errors_are_the_apps_own(client, instance):
    def code(method, **arguments):
        with pytest.raises(Exception) as raised:
            client.execute(method, **arguments)
        return raised.value.args[0]["code"]

    assert code("get_multiple_leads_by_filter_type", filterType="city", filterValues="Oslo") == "1011"
    assert code("get_lead_by_id", id=7) == "1004"
    too_long = {"createdAt": {"startAt": "2025-01-01T00:00:00Z", "endAt": "2025-03-01T00:00:00Z"}}
    assert code("create_leads_export_job", fields=["id"], filters=too_long) == "1003"
    instance.post("/marketo/config", {"denied": ["lists"]})
    assert code("get_multiple_lists") == "603"
    instance.post("/marketo/config", {"denied": [], "daily_quota": 1})
    assert code("get_multiple_lists") == "607"
    instance.post("/marketo/config", {"daily_quota": 0})
    instance.post("/marketo/faults", {"kind": "error_object", "match": {"path_prefix": "/rest/v1/lists"}})
    assert code("get_multiple_lists") == "611"
    client.client_secret, client.valid_until = "wrong", None
    with pytest.raises(Exception, match="Bad client credentials"):
        client.execute("get_multiple_lists")
