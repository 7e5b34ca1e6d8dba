"""HubSpot's own client, hubspot-api-client, reads what the simulator has."""

import datetime as dt

import hubspot
import pytest
import requests
from hubspot.crm.contacts import ApiException
from hubspot.crm.contacts import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest

TOKEN = "pat-na1-simulated"


@pytest.fixture
def portal(control):
    control.post(
        "/hubspot/seed",
        {"owners": 7, "companies": 90, "contacts": 240, "deals": 50, "contact_lists": 45, "forms": 10, "form_submissions": 80,
         "email_campaigns": 12, "email_events": 130, "email_subscription_event_changes": 25, "deleted_percent": 8},
    )
    return control


def connect(control, scheme="http", token=TOKEN):
    address = control.addresses["hubspot"][scheme]
    return hubspot.HubSpot(access_token=token, host=address, base_url=address, ssl_ca_cert=control.addresses["ca"])


@pytest.fixture(params=["http", "https"])
def client(request, portal, monkeypatch):
    # For `api_request`, which takes no authority of its own.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", portal.addresses["ca"])
    return connect(portal, request.param)


def plain(instant):
    """As the API wrote it: without a fraction on the full second."""
    text = instant.astimezone(dt.timezone.utc).isoformat(timespec="milliseconds")
    return text.replace(".000+00:00", "Z").replace("+00:00", "Z")


def shown(thing):
    """A model of the client as the ledger has the object."""
    record = {
        "id": thing.id, "properties": thing.properties, "createdAt": plain(thing.created_at),
        "updatedAt": plain(thing.updated_at), "archived": thing.archived,
    }
    if thing.archived_at:
        record["archivedAt"] = plain(thing.archived_at)
    return record


def without_url(ledger):
    return {id: {k: v for k, v in record.items() if k != "url"} for id, record in ledger.items()}


def get(client, path, **query):
    answer = client.api_request({"path": path, "qs": query})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("collection", ["contacts", "companies", "deals"])
def test_get_all_reads_the_ledger(client, portal, collection):
    names = [p.name for p in client.crm.properties.core_api.get_all(collection).results]
    assert {"renewal_date", "customer_score"} < set(names)
    api = getattr(client.crm, collection)
    live = {thing.id: shown(thing) for thing in api.get_all(properties=names)}
    assert live == without_url(portal.ledger("hubspot", collection))
    gone = {thing.id: shown(thing) for thing in api.get_all(properties=names, archived=True)}
    everything = without_url(portal.ledger("hubspot", collection, deleted=True))
    assert live | gone == everything and gone and not live.keys() & gone.keys()


def test_a_search_reads_what_changed(client, portal):
    ledger = portal.ledger("hubspot", "contacts")
    stamps = sorted(record["updatedAt"] for record in ledger.values())
    since = dt.datetime.fromisoformat(stamps[100].replace("Z", "+00:00"))
    found, after = {}, None
    while True:
        ask = PublicObjectSearchRequest(
            filter_groups=[{"filters": [{"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(int(since.timestamp() * 1000))}]}],
            sorts=[{"propertyName": "hs_object_id", "direction": "ASCENDING"}], properties=["email"], limit=50, after=after,
        )
        page = client.crm.contacts.search_api.do_search(public_object_search_request=ask)
        found |= {thing.id: thing.properties["email"] for thing in page.results}
        if page.paging is None:
            break
        after = page.paging.next.after
    assert found == {id: r["properties"]["email"] for id, r in ledger.items() if r["updatedAt"] >= stamps[100]}
    assert page.total == len(found) > 100, "several pages"


def test_a_search_ends_at_its_ceiling(client, portal):
    with pytest.raises(ApiException) as refused:
        client.crm.contacts.search_api.do_search(public_object_search_request={"limit": 200, "after": 9900})
    assert refused.value.status == 400
    page = client.crm.contacts.search_api.do_search(public_object_search_request={"limit": 200, "after": 9800})
    assert page.results == []


def test_batches_read_by_id_and_by_email(client, portal):
    ledger = portal.ledger("hubspot", "contacts")
    ids = list(ledger)[:100]
    ask = BatchReadInputSimplePublicObjectId(properties=["city"], properties_with_history=[], inputs=[{"id": id} for id in ids])
    read = client.crm.contacts.batch_api.read(batch_read_input_simple_public_object_id=ask)
    assert {thing.id: thing.properties["city"] for thing in read.results} == {id: ledger[id]["properties"]["city"] for id in ids}
    emails = [r["properties"]["email"] for r in ledger.values() if r["properties"]["email"]][:20]
    ask = BatchReadInputSimplePublicObjectId(properties=["email"], properties_with_history=["email"], id_property="email", inputs=[{"id": e} for e in emails + ["nobody@x.example"]])
    read = client.crm.contacts.batch_api.read(batch_read_input_simple_public_object_id=ask)
    assert {thing.properties["email"] for thing in read.results} == set(emails)
    assert read.num_errors == 1 and read.errors[0].context["ids"] == ["nobody@x.example"]


def test_associations_agree_in_lists_and_batches(client, portal):
    deals = client.crm.deals.get_all(associations=["contacts", "companies"])
    listed = {d.id: {a.id for a in d.associations["contacts"].results} for d in deals if d.associations and "contacts" in d.associations}
    batch = {"inputs": [{"id": d.id} for d in deals]}
    read = client.crm.associations.v4.batch_api.get_page("deals", "contacts", batch_input_public_fetch_associations_batch_request=batch)
    assert {r._from.id: {t.to_object_id for t in r.to} for r in read.results} == listed and len(listed) > 20
    one = next(iter(listed))
    page = client.crm.associations.v4.basic_api.get_page("deals", one, "contacts")
    assert {t.to_object_id for t in page.results} == listed[one]


def test_lists_owners_pipelines_and_forms(client, portal):
    found, offset = {}, 0
    while True:
        ask = {"count": 20, "offset": offset, "sort": "-HS_UPDATED_AT", "additionalProperties": []}
        page = client.crm.lists.lists_api.do_search(list_search_request=ask)
        found |= {one.list_id: one.name for one in page.lists}
        offset = page.offset
        if not page.has_more:
            break
    assert found == {id: r["name"] for id, r in portal.ledger("hubspot", "contact_lists").items()}
    owners = client.crm.owners.get_all()
    assert {o.id: o.email for o in owners} == {id: r["email"] for id, r in portal.ledger("hubspot", "owners").items()}
    pipeline = client.crm.pipelines.pipelines_api.get_all("deals").results[0]
    stages = {deal["properties"]["dealstage"] for deal in portal.ledger("hubspot", "deals").values()}
    assert stages <= {stage.id for stage in pipeline.stages}
    forms = client.marketing.forms.forms_api.get_page(form_types=["hubspot", "captured", "flow"], limit=100).results
    ledger = portal.ledger("hubspot", "forms")
    assert {f.id for f in forms} == {id for id, r in ledger.items() if r["formType"] != "blog_comment"}


def test_legacy_endpoints_read_the_ledger(client, portal):
    profiles, identities, place, more = set(), set(), 0, True
    while more:
        page = get(client, "/contacts/v1/lists/all/contacts/all", count=100, vidOffset=place)
        for profile in [p for c in page["contacts"] for p in c["identity-profiles"]]:
            profiles.add(f"{profile['vid']}:{profile['saved-at-timestamp']}")
            identities |= {f"{profile['vid']}:{i['type']}:{i['value']}" for i in profile["identities"]}
        place, more = page["vid-offset"], page["has-more"]
    assert profiles == set(portal.ledger("hubspot", "contact_identity_profiles"))
    assert identities == set(portal.ledger("hubspot", "contact_identities"))

    def walk(path, member, **query):
        rows, more = [], True
        while more:
            page = get(client, path, limit=40, **query)
            rows += page[member]
            query["offset"], more = page["offset"], page["hasMore"]
        return rows

    span = {"startTimestamp": 0, "endTimestamp": 4102444800000}
    events = walk("/email/public/v1/events", "events", **span)
    assert {f"{e['id']}:{e['created']}": e for e in events} == portal.ledger("hubspot", "email_events")
    timeline = walk("/email/public/v1/subscriptions/timeline", "timeline", **span)
    changes = [c for item in timeline for c in item["changes"]]
    assert len(changes) == len(portal.ledger("hubspot", "email_subscription_event_changes"))
    campaigns = {str(c["id"]): get(client, f"/email/public/v1/campaigns/{c['id']}", appId=c["appId"]) | {"lastUpdatedTime": c["lastUpdatedTime"]}
                 for c in walk("/email/public/v1/campaigns", "campaigns")}
    assert campaigns == portal.ledger("hubspot", "email_campaigns")
    submissions = {}
    for form in portal.ledger("hubspot", "forms").values():
        query = {"limit": 50}
        while form["formType"] != "blog_comment" and query:
            page = get(client, f"/form-integrations/v1/submissions/forms/{form['id']}", **query)
            submissions |= {f"{form['id']}:{s['conversionId']}": s | {"formId": form["id"]} for s in page["results"]}
            query = {"limit": 50, "after": page["paging"]["next"]["after"]} if "paging" in page else None
    forms = portal.ledger("hubspot", "forms")
    assert submissions == {id: r for id, r in portal.ledger("hubspot", "form_submissions").items() if r["formId"] in forms}


def test_subscription_statuses_are_read_by_email(client, portal):
    emails = sorted({r["properties"]["email"] for r in portal.ledger("hubspot", "contacts").values() if r["properties"]["email"]})
    found = {}
    for at in range(0, len(emails), 100):
        path = "/communication-preferences/v4/statuses/batch/read?channel=EMAIL"
        answer = client.api_request({"method": "POST", "path": path, "body": {"inputs": emails[at:at + 100]}}).json()
        found |= {f"{s['subscriberIdString']}:{s['subscriptionId']}": s for r in answer["results"] for s in r["statuses"]}
    assert found == portal.ledger("hubspot", "email_subscriptions")


def test_oauth_tokens_are_granted_and_end(client, portal):
    granted = client.oauth.tokens_api.create(
        grant_type="refresh_token", client_id="sim-client", client_secret="sim-secret", refresh_token="sim-refresh")
    assert granted.expires_in == 1800
    fresh = connect(portal, token=granted.access_token)
    assert len(fresh.crm.owners.get_all()) > 0
    assert client.oauth.access_tokens_api.get(granted.access_token).scopes
    portal.post("/clock", {"offset_seconds": 1801})
    with pytest.raises(hubspot.crm.owners.ApiException) as ended:
        fresh.crm.owners.get_all()
    assert (ended.value.status, "EXPIRED_AUTHENTICATION" in ended.value.body) == (401, True)
    with pytest.raises(hubspot.oauth.ApiException) as refused:
        client.oauth.tokens_api.create(grant_type="refresh_token", client_id="sim-client", client_secret="sim-secret", refresh_token="x")
    assert (refused.value.status, "BAD_REFRESH_TOKEN" in refused.value.body) == (400, True)


def test_refusals_are_the_apps_own(client, portal):
    with pytest.raises(ApiException) as wrong:
        connect(portal, token="wrong").crm.contacts.basic_api.get_page()
    assert (wrong.value.status, "INVALID_AUTHENTICATION" in wrong.value.body) == (401, True)
    portal.post("/hubspot/config", {"denied": ["contacts"]})
    with pytest.raises(ApiException) as denied:
        client.crm.contacts.basic_api.get_page()
    assert denied.value.status == 403 and "crm.objects.contacts.read" in denied.value.body and "MISSING_SCOPES" in denied.value.body
    portal.post("/hubspot/config", {"denied": [], "daily_quota": 5, "api_usage": 5})
    with pytest.raises(ApiException) as spent:
        client.crm.contacts.basic_api.get_page()
    assert (spent.value.status, '"policyName":"DAILY"' in spent.value.body) == (429, True)
    portal.post("/hubspot/config", {"daily_quota": 0})
    many = [f"property_number_{n}" for n in range(900)]
    with pytest.raises(ApiException) as long:
        client.crm.contacts.basic_api.get_page(properties=many)
    assert long.value.status == 414
    with pytest.raises(ApiException) as missing:
        client.crm.contacts.basic_api.get_by_id("1")
    assert missing.value.status == 404


def test_faults_meet_the_members_of_this_app(portal):
    address = portal.addresses["hubspot"]["http"]
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def contacts(**params):
        return requests.get(address + "/crm/v3/objects/contacts", params={"limit": 10, **params}, headers=headers, timeout=10).json()

    first = contacts()
    match = {"path_prefix": "/crm/v3/objects/contacts"}
    portal.post("/hubspot/faults", {"kind": "empty_page", "match": match})
    emptied = contacts()
    assert emptied["results"] == [] and contacts(after=emptied["paging"]["next"]["after"])["results"] == first["results"]
    portal.post("/hubspot/faults", {"kind": "duplicate_page", "match": match})
    contacts()
    assert contacts(after=first["paging"]["next"]["after"])["results"] == first["results"]
    portal.post("/hubspot/faults", {"kind": "bad_record", "match": {"path_prefix": "/email/public/v1/events"}, "record": "17"})
    assert requests.get(address + "/email/public/v1/events", headers=headers, timeout=10).json()["events"][0] == 17
    portal.post("/hubspot/faults", {"kind": "status", "status": 429, "match": match})
    assert contacts()["policyName"] == "TEN_SECONDLY_ROLLING"
