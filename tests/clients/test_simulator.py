"""The simulator keeps its promises to the tests that lean on it: faults, gates, limits, late and skewed changes."""

import gzip
import json
import socket
import ssl
import threading
from urllib.parse import urlsplit

import pytest
import requests

KEY = {"Authorization": "Bearer sk_test_sim"}
SESSION = {"Authorization": "Bearer sim-session"}


@pytest.fixture
def shop(control):
    control.post("/stripe/seed", {"customers": 30, "charges": 50})
    return control


@pytest.fixture
def org(control):
    control.post("/salesforce/seed", {"users": 2, "accounts": 900})
    return control


def charges(control, **params):
    url = control.addresses["stripe"]["http"] + "/v1/charges"
    return requests.get(url, params={"limit": 10, **params}, headers=KEY, timeout=10)


def query(control, soql, path="queryAll", **headers):
    url = f"{control.addresses['salesforce']['http']}/services/data/v62.0/{path}"
    return requests.get(url, params={"q": soql}, headers={**SESSION, **headers}, timeout=10)


def follow(control, page):
    url = control.addresses["salesforce"]["http"] + page["nextRecordsUrl"]
    return requests.get(url, headers=SESSION, timeout=10).json()


def raw(control, path, wait=True):
    """What comes over the wire, and whether it ended with a reset."""
    at = urlsplit(control.addresses["stripe"]["http"])
    wire = socket.create_connection((at.hostname, at.port), timeout=10)
    wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_sim\r\n\r\n".encode())
    got = b""
    try:
        while part := wire.recv(65536):
            got += part
            if not wait:
                break
    except ConnectionResetError:
        return got, True
    return got, False


def fault(control, kind, app="stripe", **more):
    return control.post(f"/{app}/faults", {"kind": kind, "match": {"path_prefix": "/v1/charges" if app == "stripe" else "/services/data"}, **more})


# ---------------------------------------------------------------------------------------------------------------- faults


def test_faults_on_the_wire(shop):
    whole = charges(shop)
    for kind, reset, has_status in [("reset_before", True, False), ("reset_headers", True, True), ("reset_body", True, True),
                                    ("truncate", False, True)]:
        fault(shop, kind)
        got, was_reset = raw(shop, "/v1/charges?limit=10")
        assert was_reset == reset, kind
        assert got.startswith(b"HTTP/1.1 200") == has_status, kind
        if kind in ("reset_body", "truncate"):
            head, _, body = got.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(whole.content)}".encode() in head
            assert 0 < len(body) < len(whole.content)
        assert charges(shop).json() == whole.json(), "only once"
    fault(shop, "chunk_error")
    got, _ = raw(shop, "/v1/charges?limit=10")
    assert b"Transfer-Encoding: chunked" in got and b"not-a-chunk-size" in got
    fault(shop, "truncate_json")
    cut = charges(shop)
    assert cut.ok and len(cut.content) == int(cut.headers["Content-Length"]) < len(whole.content)
    with pytest.raises(ValueError):
        cut.json()


def test_faults_that_are_replies(shop):
    fault(shop, "status", status=429, headers={"Retry-After": "7"})
    answer = charges(shop)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["error"]["code"]) == (429, "7", "rate_limit")
    fault(shop, "status", status=503, body="<h1>no</h1>", headers={"Content-Type": "text/html"})
    assert (charges(shop).text, charges(shop).status_code) == ("<h1>no</h1>", 200)
    fault(shop, "html")
    assert charges(shop).headers["Content-Type"].startswith("text/html")
    fault(shop, "empty")
    assert charges(shop).content == b""
    fault(shop, "error_object")
    answer = charges(shop)
    assert answer.ok and "error" in answer.json()
    fault(shop, "deep_json", depth=5000)
    assert charges(shop).content.count(b"[") == 5000
    fault(shop, "redirect", location="http://127.0.0.1:1/elsewhere")
    answer = requests.get(shop.addresses["stripe"]["http"] + "/v1/charges", headers=KEY, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")


def test_faults_that_are_large(shop):
    fault(shop, "giant", megabytes=3)
    assert len(charges(shop).content) > 3 << 20
    fault(shop, "bomb", megabytes=20)
    got, _ = raw(shop, "/v1/charges")
    assert len(got) < 1 << 20
    chunks, rest, body = b"", got.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2:]
    assert len(gzip.decompress(body)) > 20 << 20
    fault(shop, "endless_headers")
    at = urlsplit(shop.addresses["stripe"]["http"])
    wire = socket.create_connection((at.hostname, at.port), timeout=10)
    wire.sendall(b"GET /v1/charges HTTP/1.1\r\nHost: x\r\n\r\n")
    got = 0
    while got < 3 << 20:
        part = wire.recv(1 << 16)
        assert part and b"\r\n\r\n" not in part
        got += len(part)


def test_matching_is_by_content_method_and_count(shop):
    shop.post("/stripe/faults", {"kind": "status", "status": 500, "times": 2,
                                 "match": {"path_prefix": "/v1/charges", "contains": "limit=3", "method": "GET", "skip": 1}})
    assert [charges(shop, limit=3).status_code for _ in range(4)] == [200, 500, 500, 200]
    assert shop.get("/stripe/faults")["faults"][0]["hits"] == 2
    shop.delete("/stripe/faults")
    assert shop.get("/stripe/faults")["faults"] == []
    answer = requests.post(shop.base + "/stripe/faults", json={"kind": "no_such_kind"})
    assert answer.status_code == 400


def test_chaos_follows_its_seed(shop):
    def run():
        shop.post("/stripe/chaos", {"seed": 5, "rate": 0.4, "kinds": ["status"]})
        return [charges(shop).status_code for _ in range(20)]

    first = run()
    assert first == run() and 200 in first and any(s >= 429 for s in first)


def test_page_faults_in_stripe(shop):
    first = charges(shop).json()
    last = first["data"][-1]["id"]
    second = charges(shop, starting_after=last).json()
    fault(shop, "duplicate_page")
    assert charges(shop).json() == first
    assert charges(shop, starting_after=last).json() == first, "the page before, once more"
    assert charges(shop, starting_after=last).json() == second
    fault(shop, "empty_page")
    assert (lambda p: (p["data"], p["has_more"]))(charges(shop).json()) == ([], True)
    fault(shop, "shuffle")
    mixed = charges(shop).json()
    assert mixed != first and mixed["data"][-1] == first["data"][-1]
    assert sorted(r["id"] for r in mixed["data"]) == sorted(r["id"] for r in first["data"])
    fault(shop, "bad_record", record='{"id":"ch_bad","amount":1e400}')
    assert b'"amount":1e400' in charges(shop).content
    fault(shop, "raw_field", field="description", raw='"a\\u0000b"')
    assert charges(shop).json()["data"][0]["description"] == "a\0b"
    fault(shop, "same_page", times=0)
    charges(shop)
    assert [charges(shop, starting_after=last).json() == first for _ in range(3)] == [True] * 3


def test_page_faults_in_salesforce(org):
    org.post("/salesforce/config", {"page_size": 400})
    soql = "SELECT Id FROM Account"
    ids = lambda page: [r["Id"] for r in page["records"]]

    def read():
        page, all = query(org, soql).json(), []
        for _ in range(10):
            all.append(ids(page))
            if page["done"]:
                return all
            page = follow(org, page)
        return all

    clean = read()
    assert [len(p) for p in clean] == [400, 400, 100]
    org.post("/salesforce/faults", {"kind": "duplicate_page", "match": {"contains": "/query/01g"}})
    assert read() == [clean[0], clean[1], clean[1], clean[2]]
    org.post("/salesforce/faults", {"kind": "empty_page", "match": {"contains": "queryAll"}})
    assert read() == [[], *clean]
    org.post("/salesforce/faults", {"kind": "shuffle", "match": {"contains": "queryAll"}})
    mixed = read()
    assert mixed != clean and sorted(mixed[0]) == clean[0]
    org.post("/salesforce/faults", {"kind": "same_page", "times": 0})
    assert read() == [clean[0]] * 10
    org.delete("/salesforce/faults")
    page = query(org, soql).json()
    org.delete("/salesforce/cursors")
    assert follow(org, page)[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_a_lost_reply_has_taken_effect(org):
    org.post("/salesforce/config", {"rotate_refresh_tokens": True})
    org.post("/salesforce/faults", {"kind": "reset_headers", "match": {"path_prefix": "/services/oauth2/token"}})
    form = {"grant_type": "refresh_token", "client_id": "sim-client", "client_secret": "sim-secret", "refresh_token": "sim-refresh"}
    url = org.addresses["salesforce"]["http"] + "/services/oauth2/token"
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data=form, timeout=10)
    assert requests.post(url, data=form, timeout=10).json()["error"] == "invalid_grant"
    logged = org.get("/salesforce/requests", path_prefix="/services/oauth2")
    assert "sim-refresh" not in json.dumps(logged) and "sim-secret" not in json.dumps(logged)
    assert "refresh_token=***" in logged[0]["body"]


# ------------------------------------------------------------------------------------------------------------------ gates


def test_a_gate_holds_until_released(shop):
    gate = shop.post("/stripe/gates", {"match": {"path_prefix": "/v1/charges"}})["id"]
    answers = []
    held = [threading.Thread(target=lambda: answers.append(charges(shop).status_code)) for _ in range(2)]
    [thread.start() for thread in held]
    assert shop.get(f"/gates/{gate}", wait_for=2) == {"waiting": 2, "passed": 0, "gone": 0, "open": False}
    assert answers == []
    shop.post(f"/gates/{gate}/release")
    [thread.join() for thread in held]
    assert answers == [200, 200]
    assert shop.get(f"/gates/{gate}") == {"waiting": 0, "passed": 2, "gone": 0, "open": True}


def test_a_gate_sees_a_client_leave_in_the_body(shop):
    gate = shop.post("/stripe/gates", {"match": {"path_prefix": "/v1/charges"}, "where": "body"})["id"]
    at = urlsplit(shop.addresses["stripe"]["https"])
    context = ssl.create_default_context(cafile=shop.addresses["ca"])
    wire = context.wrap_socket(socket.create_connection((at.hostname, at.port), timeout=10), server_hostname="localhost")
    wire.sendall(b"GET /v1/charges HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_sim\r\n\r\n")
    shop.get(f"/gates/{gate}", wait_for=1)
    assert wire.recv(65536).startswith(b"HTTP/1.1 200")
    wire.close()
    assert shop.get(f"/gates/{gate}", gone=1)["gone"] == 1


# ------------------------------------------------------------------------------------------- limits, clock, late changes


def test_quota_and_rate(org):
    org.post("/salesforce/config", {"daily_quota": 3})
    answers = [query(org, "SELECT Id FROM Account LIMIT 1") for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 403]
    assert answers[0].headers["Sforce-Limit-Info"] == "api-usage=1/3"
    assert answers[3].json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    org.post("/salesforce/config", {"daily_quota": 0, "rate_per_second": 1})
    assert 429 in [query(org, "SELECT Id FROM Account LIMIT 1").status_code for _ in range(4)]


def test_tokens_end(org):
    token = org.post("/salesforce/token")["access_token"]
    url = org.addresses["salesforce"]["http"] + "/services/data/v62.0/limits"
    ask = lambda: requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code
    assert ask() == 200
    org.delete("/salesforce/tokens")
    assert ask() == 401
    assert [r["credential"] for r in org.get("/salesforce/requests")] == ["valid", "expired"]


def test_late_changes_are_true_before_they_are_seen(org):
    id = next(iter(org.ledger("salesforce", "accounts")))
    org.post("/salesforce/config", {"late_visibility_ms": 3_600_000})
    org.patch(f"/salesforce/accounts/{id}", {"Name": "Late"})
    assert org.ledger("salesforce", "accounts")[id]["Name"] == "Late"
    find = lambda: query(org, f"SELECT Name FROM Account WHERE Id = '{id}'").json()["records"][0]["Name"]
    assert find() != "Late"
    org.post("/clock", {"offset_seconds": 3600})
    assert find() == "Late"


def test_the_clock_moves_stamps_and_dates(shop):
    shop.post("/clock", {"offset_seconds": -86400})
    id = next(iter(shop.ledger("stripe", "customers")))
    shop.patch(f"/stripe/customers/{id}", {"name": "Skewed"})
    event = next(iter(shop.ledger("stripe", "events").values()))
    real = shop.get("/clock")["now_ms"] // 1000
    assert abs(event["created"] - real) < 60
    answer = charges(shop)
    assert answer.headers["Date"] != requests.get(shop.base).headers.get("Date")


def test_stamps_may_be_planted_and_changes_made_in_silence(org):
    first, second = list(org.ledger("salesforce", "accounts"))[:2]
    before = org.ledger("salesforce", "accounts")[second]["SystemModstamp"]
    org.patch(f"/salesforce/accounts/{first}", {"SystemModstamp": "2020-02-02T02:02:02Z"})
    org.patch(f"/salesforce/accounts/{second}", {"Name": "Quiet"}, silent="true")
    now = org.ledger("salesforce", "accounts")
    assert now[first]["SystemModstamp"] == "2020-02-02T02:02:02.000+0000"
    assert (now[second]["Name"], now[second]["SystemModstamp"]) == ("Quiet", before)


def test_describe_answers_304_until_the_object_changes(org):
    url = org.addresses["salesforce"]["http"] + "/services/data/v62.0/sobjects/Account/describe"
    first = requests.get(url, headers=SESSION, timeout=10)
    since = {**SESSION, "If-Modified-Since": first.headers["Last-Modified"]}
    assert requests.get(url, headers=since, timeout=10).status_code == 304
    org.post("/salesforce/objects/Account", {"fields": [{"name": "Region__c", "type": "picklist"}]})
    second = requests.get(url, headers=since, timeout=10)
    assert "Region__c" in [f["name"] for f in second.json()["fields"]]
    id = next(iter(org.ledger("salesforce", "accounts")))
    org.patch(f"/salesforce/accounts/{id}", {"Region__c": "North"})
    assert query(org, "SELECT Id FROM Account WHERE Region__c = 'north'").json()["records"][0]["Id"] == id
    org.delete("/salesforce/objects/Account/fields/Region__c")
    assert query(org, "SELECT Region__c FROM Account").json()[0]["errorCode"] == "INVALID_FIELD"
    org.post("/salesforce/objects/Account", {"accessible": False})
    assert query(org, "SELECT Id FROM Account").json()[0]["errorCode"] == "INVALID_TYPE"
    org.post("/salesforce/objects/Planet__c", {"fields": [{"name": "Mass__c", "type": "double"}]})
    org.post("/salesforce/Planet__c", {"Name": "Earth", "Mass__c": 5.97e24})
    assert query(org, "SELECT Name, Mass__c FROM Planet__c").json()["records"][0]["Mass__c"] == 5.97e24


def test_denied_collections(shop, org):
    shop.post("/stripe/config", {"denied": ["charges"]})
    org.post("/salesforce/config", {"denied": ["accounts"]})
    assert charges(shop).status_code == 403
    answer = query(org, "SELECT Id FROM Account")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "INSUFFICIENT_ACCESS")


def test_an_account_of_its_own_behind_stripe_account(shop):
    shop.post("/stripe/seed", {"charges": 4}, account="acct_other")
    url = shop.addresses["stripe"]["http"] + "/v1/charges"
    other = requests.get(url, headers={**KEY, "Stripe-Account": "acct_other"}, timeout=10)
    assert len(other.json()["data"]) == 4
    assert requests.get(url, headers={**KEY, "Stripe-Account": "acct_none"}, timeout=10).status_code == 403


def test_events_in_another_version_and_past_retention(shop):
    id = next(iter(shop.ledger("stripe", "charges")))
    shop.post("/stripe/config", {"event_api_version": "2020-08-27"})
    shop.patch(f"/stripe/charges/{id}", {"description": "changed"})
    url = shop.addresses["stripe"]["http"] + "/v1/events"
    event = requests.get(url, headers=KEY, timeout=10).json()["data"][0]
    assert event["api_version"] == "2020-08-27"
    assert event["data"]["object"] != shop.ledger("stripe", "charges")[id]
    shop.post("/clock", {"offset_seconds": 31 * 86400})
    assert requests.get(url, headers=KEY, timeout=10).json()["data"] == []


def test_the_two_apps_join(control):
    control.post("/salesforce/seed", {"users": 1, "accounts": 20})
    control.post("/stripe/seed", {"customers": 20})
    accounts = control.ledger("salesforce", "accounts")
    joined = [c for c in control.ledger("stripe", "customers").values() if "salesforce_account_id" in c["metadata"]]
    assert len(joined) > 10
    for customer in joined:
        account = accounts[customer["metadata"]["salesforce_account_id"]]
        assert account["Name"] == customer["name"]
        assert account["Website"].removeprefix("https://www.") == customer["email"].split("@")[1]


def test_seeds_give_the_same_data_again(control):
    def fill():
        control.post("/reset")
        control.post("/salesforce/seed", {"users": 2, "accounts": 50, "contacts": 50})
        control.post("/stripe/seed", {"customers": 50, "charges": 50, "invoices": 20})
        return [control.ledger(app, name) for app, name in [("salesforce", "contacts"), ("stripe", "charges"), ("stripe", "invoice_lines")]]

    assert fill() == fill()
