"""The apps' own clients read everything the simulator has, unchanged: it plays the apps, not our idea of them."""

import csv
import datetime as dt
import decimal
import io
import time

import jwt
import pytest
import requests
import simple_salesforce
import stripe
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

# ---------------------------------------------------------------------------------------------------------------- Stripe


@pytest.fixture(params=["http", "https"])
def shop(request, control):
    """A Stripe client against a seeded account."""
    control.post(
        "/stripe/seed",
        {"customers": 120, "charges": 330, "invoices": 45, "subscriptions": 30, "products": 4, "plans": 4, "coupons": 3,
         "tax_rates": 3, "transfers": 8, "application_fees": 9, "payment_intents": 20, "invoice_items": 7},
    )
    http = None
    if request.param == "https":
        http = stripe.RequestsClient(verify_ssl_certs=True, session=control.trusting())
    return stripe.StripeClient(
        "sk_test_sim",
        base_addresses={"api": control.addresses["stripe"][request.param]},
        http_client=http,
        stripe_version="2024-06-20",
    )


def plain(value):
    """As JSON had it: the client makes decimals of the texts that are decimal numbers."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return str(value) if isinstance(value, decimal.Decimal) else value


def read(pages):
    return {thing["id"]: plain(thing.to_dict()) for thing in pages.auto_paging_iter()}


@pytest.mark.parametrize(
    "collection, service",
    [
        ("charges", "charges"), ("customers", "customers"), ("invoices", "invoices"), ("products", "products"),
        ("plans", "plans"), ("coupons", "coupons"), ("tax_rates", "tax_rates"), ("refunds", "refunds"),
        ("disputes", "disputes"), ("balance_transactions", "balance_transactions"), ("transfers", "transfers"),
        ("application_fees", "application_fees"), ("payment_intents", "payment_intents"), ("invoice_items", "invoice_items"),
    ],
)
def test_auto_paging_reads_the_ledger(shop, control, collection, service):
    pages = getattr(shop.v1, service).list({"limit": 100})
    assert read(pages) == control.ledger("stripe", collection)


def test_pages_backwards_and_small_hold_the_same(shop, control):
    ledger = control.ledger("stripe", "charges")
    forward = [c["id"] for c in shop.v1.charges.list({"limit": 7}).auto_paging_iter()]
    assert sorted(forward) == sorted(ledger)
    last = forward[-1]
    backward = [c["id"] for c in shop.v1.charges.list({"limit": 7, "ending_before": last}).auto_paging_iter()]
    assert backward == forward[-2::-1]
    created = [ledger[i]["created"] for i in forward]
    assert created == sorted(created, reverse=True)
    middle = created[100]
    some = read(shop.v1.charges.list({"limit": 50, "created": {"gte": middle}}))
    assert set(some) == {i for i, c in ledger.items() if c["created"] >= middle}


def test_subscriptions_need_status_all(shop, control):
    ledger = control.ledger("stripe", "subscriptions")
    assert read(shop.v1.subscriptions.list({"limit": 100, "status": "all"})) == ledger
    live = read(shop.v1.subscriptions.list({"limit": 100}))
    assert set(live) == {i for i, s in ledger.items() if s["status"] != "canceled"} != set(ledger)


def test_nested_lists_hold_all_children(shop, control):
    lines, invoices = {}, control.ledger("stripe", "invoices")
    for invoice in invoices:
        lines |= read(shop.v1.invoices.line_items.list(invoice, {"limit": 10}))
    assert lines == control.ledger("stripe", "invoice_lines")
    assert any(i["lines"]["has_more"] and len(i["lines"]["data"]) == 10 for i in invoices.values())

    items = {}
    for subscription in control.ledger("stripe", "subscriptions"):
        items |= read(shop.v1.subscription_items.list({"subscription": subscription, "limit": 100}))
    assert items == control.ledger("stripe", "subscription_items")

    methods, sources = {}, {}
    for customer in control.ledger("stripe", "customers"):
        methods |= read(shop.v1.customers.payment_methods.list(customer, {"limit": 100}))
        sources |= read(shop.v1.customers.payment_sources.list(customer, {"limit": 5}))
    assert methods == control.ledger("stripe", "payment_methods")
    assert sources == control.ledger("stripe", "cards") | control.ledger("stripe", "bank_accounts")

    reversals = {}
    for transfer in control.ledger("stripe", "transfers"):
        reversals |= read(shop.v1.transfers.reversals.list(transfer, {"limit": 1}))
    assert reversals == control.ledger("stripe", "transfer_reversals")

    refunds = {}
    for fee in control.ledger("stripe", "application_fees"):
        refunds |= read(shop.v1.application_fees.refunds.list(fee, {"limit": 1}))
    assert refunds == control.ledger("stripe", "application_fee_refunds")


def test_sources_come_with_customers_only_when_expanded(shop, control):
    assert all("sources" not in c for c in control.ledger("stripe", "customers").values())
    found = {}
    for customer in shop.v1.customers.list({"limit": 100, "expand": ["data.sources"]}).auto_paging_iter():
        found |= {s["id"]: plain(s.to_dict()) for s in customer.sources.auto_paging_iter()}
    assert found == control.ledger("stripe", "cards") | control.ledger("stripe", "bank_accounts")


def test_events_tell_of_changes(shop, control):
    customers = list(control.ledger("stripe", "customers"))
    control.patch(f"/stripe/customers/{customers[0]}", {"name": "Renamed"})
    control.delete(f"/stripe/customers/{customers[1]}")
    new = control.post("/stripe/charges", {"amount": 4200, "customer": customers[0]})
    events = list(shop.v1.events.list({"limit": 2}).auto_paging_iter())
    assert {e["id"]: plain(e.to_dict()) for e in events} == control.ledger("stripe", "events")
    by_type = {e["type"]: plain(e.to_dict()) for e in events}
    assert by_type["customer.updated"]["data"]["previous_attributes"]["name"] != "Renamed"
    assert by_type["customer.updated"]["data"]["object"] == shop.v1.customers.retrieve(customers[0]).to_dict()
    assert by_type["customer.deleted"]["data"]["object"]["id"] == customers[1]
    assert by_type["charge.succeeded"]["data"]["object"] == new
    assert shop.v1.customers.retrieve(customers[1]).to_dict() == {"id": customers[1], "object": "customer", "deleted": True}
    only = shop.v1.events.list({"types": ["customer.deleted", "charge.succeeded"]})
    assert {e["type"] for e in only} == {"customer.deleted", "charge.succeeded"}
    assert all(e["type"].startswith("customer.") for e in shop.v1.events.list({"type": "customer.*"}))


def test_errors_are_the_apps_own(shop, control):
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        shop.v1.charges.list({"nonsense": 1})
    assert unknown.value.code == "parameter_unknown"
    with pytest.raises(stripe.InvalidRequestError) as missing:
        shop.v1.charges.list({"starting_after": "ch_none"})
    assert (missing.value.code, missing.value.http_status) == ("resource_missing", 400)
    with pytest.raises(stripe.InvalidRequestError) as gone:
        shop.v1.charges.retrieve("ch_none")
    assert gone.value.http_status == 404
    control.post("/stripe/config", {"denied": ["charges"]})
    with pytest.raises(stripe.PermissionError):
        shop.v1.charges.list()
    control.post("/stripe/config", {"denied": [], "api_key": "sk_test_other"})
    with pytest.raises(stripe.AuthenticationError):
        shop.v1.charges.list()
    control.post("/stripe/config", {"api_key": "sk_test_sim", "rate_per_second": 1})
    with pytest.raises(stripe.RateLimitError):
        for _ in range(5):
            shop.v1.charges.list({"limit": 1})


# ------------------------------------------------------------------------------------------------------------ Salesforce


@pytest.fixture
def org(control):
    control.post("/salesforce/seed", {"users": 3, "accounts": 4300, "contacts": 60, "opportunities": 40, "documents": 2,
                                      "tasks": 15, "deleted_percent": 3})
    return control


def connect(control, token):
    address = control.addresses["salesforce"]["https"]
    return simple_salesforce.Salesforce(instance_url=address, session_id=token, session=control.trusting(), version="62.0")


def grant(control, scheme="https", **form):
    url = control.addresses["salesforce"][scheme] + "/services/oauth2/token"
    return requests.post(url, data=form, verify=control.addresses["ca"])


CLIENT = {"client_id": "sim-client", "client_secret": "sim-secret"}


def bare(records):
    return {r["Id"]: {k: v for k, v in r.items() if k != "attributes"} for r in records}


def fields(client, name, **skip):
    described = getattr(client, name).describe()["fields"]
    return [f["name"] for f in described if f["type"] not in skip.get("types", ())]


def test_session_id_and_oauth_tokens_are_good(org):
    assert connect(org, "sim-session").limits()["DailyApiRequests"]["Max"] > 0
    for form in [
        {"grant_type": "refresh_token", "refresh_token": "sim-refresh", **CLIENT},
        {"grant_type": "client_credentials", **CLIENT},
        {"grant_type": "password", "username": "sim@example.com", "password": "sim-password", **CLIENT},
    ]:
        answer = grant(org, **form).json()
        assert answer["instance_url"] == org.addresses["salesforce"]["https"]
        assert connect(org, answer["access_token"]).query("SELECT COUNT() FROM Account")["totalSize"] > 4000
    with pytest.raises(simple_salesforce.SalesforceExpiredSession):
        connect(org, "wrong").limits()


def test_wrong_grants_are_refused(org):
    good = {"grant_type": "refresh_token", "refresh_token": "sim-refresh", **CLIENT}
    for change, error in [
        ({"refresh_token": "x"}, "invalid_grant"),
        ({"client_secret": "x"}, "invalid_client"),
        ({"client_id": "x"}, "invalid_client_id"),
        ({"grant_type": "x"}, "unsupported_grant_type"),
    ]:
        answer = grant(org, **(good | change))
        assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_jwt_bearer_is_verified(org):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    org.post("/salesforce/config", {"jwt_public_key_pem": pem.decode()})
    claims = {"iss": "sim-client", "sub": "sim@example.com", "aud": "https://login.salesforce.com", "exp": int(time.time()) + 180}

    def ask(signer=key, **change):
        assertion = jwt.encode(claims | change, signer, algorithm="RS256")
        return grant(org, grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion=assertion)

    assert connect(org, ask().json()["access_token"]).limits()
    for answer in [ask(sub="x"), ask(iss="x"), ask(aud="https://x.example"), ask(exp=int(time.time()) - 5),
                   ask(rsa.generate_private_key(public_exponent=65537, key_size=2048))]:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_rotated_refresh_tokens_are_single_use(org):
    org.post("/salesforce/config", {"rotate_refresh_tokens": True})
    form = {"grant_type": "refresh_token", **CLIENT}
    second = grant(org, refresh_token="sim-refresh", **form).json()["refresh_token"]
    third = grant(org, refresh_token=second, **form).json()["refresh_token"]
    assert grant(org, refresh_token=second, **form).json()["error"] == "invalid_grant"
    assert grant(org, refresh_token=third, **form).json()["error"] == "invalid_grant", "reuse ends the whole family"


def test_query_all_reads_several_pages(org):
    client = connect(org, "sim-session")
    ledger = org.ledger("salesforce", "accounts", deleted=True)
    soql = f"SELECT {', '.join(fields(client, 'Account'))} FROM Account"
    live = {i: r for i, r in ledger.items() if not r["IsDeleted"]}
    assert len(live) != len(ledger) > 4000
    assert bare(client.query_all(soql)["records"]) == live
    assert bare(client.query_all(soql, include_deleted=True)["records"]) == ledger
    assert len(org.get("/salesforce/requests", path_prefix="/services/data/v62.0/query/01g")) == 4


def test_every_seeded_object_reads_back(org):
    client = connect(org, "sim-session")
    for name in ["User", "Contact", "Opportunity", "Task"]:
        soql = f"SELECT {', '.join(fields(client, name))} FROM {name} ORDER BY Id"
        found = bare(client.query_all(soql, include_deleted=True)["records"])
        assert found == org.ledger("salesforce", name, deleted=True), name
    document = client.query("SELECT Id, Body FROM Document LIMIT 1")["records"][0]
    blob = requests.get(org.addresses["salesforce"]["http"] + document["Body"], headers={"Authorization": "Bearer sim-session"})
    assert blob.ok and len(blob.content) > 20


def test_one_record_reads_back(org):
    client = connect(org, "sim-session")
    id, record = next((i, r) for i, r in org.ledger("salesforce", "contacts").items())
    assert bare([client.Contact.get(id)]) == {id: record}
    with pytest.raises(simple_salesforce.SalesforceResourceNotFound):
        client.Contact.get("0035g0000009999AAA")


def test_describe_lists_the_org(org):
    client = connect(org, "sim-session")
    objects = {o["name"]: o for o in client.describe()["sobjects"]}
    assert objects["Account"]["queryable"] and not objects["Name"]["queryable"]
    assert "AccountTag" not in objects
    org.post("/salesforce/config", {"tags": True})
    assert "AccountTag" in {o["name"] for o in client.describe()["sobjects"]}


def test_bulk_2_query_gives_all_rows(org):
    client = connect(org, "sim-session")
    names = fields(client, "Account", types=("address", "location", "base64"))
    soql = f"SELECT {', '.join(names)} FROM Account"
    pages = list(client.bulk2.Account.query_all(soql, max_records=1500, wait=0.05)) if hasattr(client.bulk2.Account, "query_all") \
        else list(client.bulk2.Account.query(soql, max_records=1500, wait=0.05))
    rows = [row for page in pages for row in csv.DictReader(io.StringIO(page))]
    live = org.ledger("salesforce", "accounts")
    everything = org.ledger("salesforce", "accounts", deleted=True)
    assert len(pages) == 3
    assert {r["Id"] for r in rows} in (set(live), set(everything))
    for row in rows:
        record = everything[row["Id"]]
        for name in names:
            value = record[name]
            shown = {None: "", True: "true", False: "false"}.get(value, value) if not isinstance(value, (int, float)) or isinstance(value, bool) else value
            if isinstance(shown, str) and shown.endswith("+0000"):
                shown = shown.replace("+0000", "Z")
            assert (float(row[name]) == shown) if isinstance(shown, (int, float)) else row[name] == shown, name


def test_deletions_are_told(org):
    client = connect(org, "sim-session")
    ids = list(org.ledger("salesforce", "contacts"))[:3]
    org.delete(f"/salesforce/contacts/{ids[0]}")
    org.delete(f"/salesforce/contacts/{ids[1]}", hard="true")
    org.delete(f"/salesforce/contacts/{ids[2]}")
    org.post(f"/salesforce/contacts/{ids[2]}/undelete")
    now = dt.datetime.now(dt.timezone.utc)
    span = now - dt.timedelta(days=1), now + dt.timedelta(minutes=2)
    told = client.Contact.deleted(*span)
    assert {r["id"] for r in told["deletedRecords"]} == {ids[0], ids[1]}
    assert set(client.Contact.updated(*span)["ids"]) == {ids[2]}
    seen = {r["Id"]: r["IsDeleted"] for r in client.query_all("SELECT Id, IsDeleted FROM Contact", include_deleted=True)["records"]}
    assert (seen[ids[0]], ids[1] in seen, seen[ids[2]]) == (True, False, False)


def test_refusals_are_the_apps_own(org):
    client = connect(org, "sim-session")
    for soql, code in [
        ("SELECT Nope FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id FROM Name", "INVALID_TYPE_FOR_OPERATION"),
        ("SELECT Id FRM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM AccountTag", "INVALID_TYPE"),
    ]:
        with pytest.raises(simple_salesforce.SalesforceMalformedRequest) as refused:
            client.query(soql)
        assert refused.value.content[0]["errorCode"] == code
    with pytest.raises(simple_salesforce.SalesforceError) as long:
        client.query("SELECT Id FROM Account WHERE Name IN (" + ",".join(["'abcdefghij'"] * 2000) + ")")
    assert long.value.status == 414
