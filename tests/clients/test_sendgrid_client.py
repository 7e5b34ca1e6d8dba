"""The sendgrid package reads everything the simulated SendGrid has, over TLS, unchanged but for its host."""

import csv
import gzip
import io
import json
import ssl
import time
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from python_http_client.exceptions import ForbiddenError, HTTPError, NotFoundError, TooManyRequestsError, UnauthorizedError
from sendgrid import SendGridAPIClient


@pytest.fixture
def account(control, monkeypatch):
    # The client opens its addresses with Python's own TLS settings, which read this.
    monkeypatch.setenv("SSL_CERT_FILE", control.addresses["ca"])
    control.post(
        "/sendgrid/seed",
        {"mc_lists": 7, "mc_contacts": 130, "mc_single_sends": 12, "lists": 3, "segments": 4, "recipients": 25, "campaigns": 23},
    )
    return control


def connect(control, key="SG.sim-key"):
    return SendGridAPIClient(key, host=control.addresses["sendgrid"]["https"]).client


@pytest.fixture
def client(account):
    return connect(account)


def read(request, **params):
    return json.loads(request.get(query_params=params).body)


def by_id(records):
    return {str(record["id"]): {name: value for name, value in record.items() if name != "_metadata"} for record in records}


@pytest.mark.parametrize("path, collection, size", [("lists", "mc_lists", 3), ("singlesends", "mc_single_sends", 5)])
def test_links_lead_through_all_pages(client, account, path, collection, size):
    records, params = [], {"page_size": size}
    while params:
        body = read(getattr(client.marketing, path), **params)
        records += body["result"]
        following = body["_metadata"].get("next")
        params = {name: values[0] for name, values in parse_qs(urlsplit(following).query).items()} if following else None
        assert following is None or len(body["result"]) == size
    assert by_id(records) == account.ledger("sendgrid", collection)


def test_legacy_collections_hold_the_ledger(client, account):
    assert by_id(read(client.contactdb.lists)["lists"]) == account.ledger("sendgrid", "lists")
    assert by_id(read(client.contactdb.segments)["segments"]) == account.ledger("sendgrid", "segments")
    campaigns = [c for offset in (0, 10, 20) for c in read(client.campaigns, limit=10, offset=offset)["result"]]
    assert by_id(campaigns) == account.ledger("sendgrid", "campaigns")
    assert len(read(client.campaigns)["result"]) == 10
    recipients, page = [], 1
    while True:
        try:
            recipients += read(client.contactdb.recipients, page=page, page_size=10)["recipients"]
        except NotFoundError:
            break
        page += 1
    assert page == 4
    assert by_id(recipients) == account.ledger("sendgrid", "recipients")


def test_contacts_are_a_sample_and_an_export(client, account):
    ledger = account.ledger("sendgrid", "mc_contacts")
    sample = read(client.marketing.contacts)
    assert (len(sample["result"]), sample["contact_count"]) == (50, 130)
    assert all(ledger[i] == contact for i, contact in by_id(sample["result"]).items())
    account.post("/sendgrid/config", {"export_rows_per_file": 100})
    started = client.marketing.contacts.exports.post(request_body={"file_type": "csv"})
    assert started.status_code == 202
    export = json.loads(started.body)["id"]
    ends = time.monotonic() + 10
    while (told := read(client.marketing.contacts.exports._(export)))["status"] == "pending":
        assert time.monotonic() < ends and "urls" not in told
    assert told["status"] == "ready"
    rows = []
    for url in told["urls"]:
        context = ssl.create_default_context(cafile=account.addresses["ca"])
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            rows += csv.DictReader(io.StringIO(gzip.decompress(answer.read()).decode()))
    assert {row["CONTACT_ID"]: (row["EMAIL"], row["LAST_NAME"], row["ADDRESS_LINE_1"]) for row in rows} == {
        i: (c["email"], c["last_name"], c["address_line_1"]) for i, c in ledger.items()
    }


def test_every_reply_tells_the_rate(client, account):
    account.post("/sendgrid/config", {"rate_limit": 2})
    now = time.time()
    first = client.marketing.lists.get()
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("2", "1")
    assert now < int(first.headers["X-RateLimit-Reset"]) <= now + 62
    client.marketing.lists.get()
    with pytest.raises(TooManyRequestsError) as refused:
        client.marketing.lists.get()
    assert refused.value.headers["X-RateLimit-Remaining"] == "0"
    assert client.campaigns.get().status_code == 200


def test_errors_are_the_apps_own(client, account):
    def refusal(kind, call):
        with pytest.raises(kind) as raised:
            call()
        return raised.value.to_dict["errors"][0]

    assert "authorization grant is invalid" in refusal(UnauthorizedError, connect(account, "SG.x").scopes.get)["message"]
    account.post("/sendgrid/config", {"denied": ["mc_contacts"], "legacy": False})
    assert refusal(ForbiddenError, client.marketing.contacts.get) == {"field": None, "message": "access forbidden"}
    assert refusal(ForbiddenError, client.contactdb.recipients.get)["message"] == "access forbidden"
    wrong = refusal(HTTPError, lambda: client.marketing.lists.get(query_params={"page_size": 1001}))
    assert wrong["field"] == "page_size"
    assert "marketing.read" in read(client.scopes)["scopes"]


def test_a_key_of_the_other_region_is_refused(account):
    account.post("/sendgrid/config", {"region": "eu"})
    client = SendGridAPIClient("SG.sim-key", host=account.addresses["sendgrid"]["https"])
    assert client.client.scopes.get().status_code == 200
    with pytest.raises(UnauthorizedError):
        client.client.scopes.get(request_headers={"Host": "api.sendgrid.com"})
    assert client.client.scopes.get(request_headers={"Host": "api.eu.sendgrid.com"}).status_code == 200
