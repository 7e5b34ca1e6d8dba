"""Replies recorded from the real apps, replayed through the simulator. Nothing to do where they are not at hand."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from simulator import ROOT

FOLDERS = [Path(os.environ.get("RECORDED", "/nonexistent")), ROOT.parent / "shared/recorded", ROOT / "../../shared/recorded"]
RECORDED = next((folder.resolve() for folder in FOLDERS if folder.is_dir()), None)

pytestmark = pytest.mark.skipif(RECORDED is None, reason="no recorded replies beside this checkout")

# Collection of ours -> resource in Stripe's fixtures.
STRIPE = {
    "application_fees": "application_fee",
    "balance_transactions": "balance_transaction",
    "charges": "charge",
    "coupons": "coupon",
    "customers": "customer",
    "disputes": "dispute",
    "invoice_items": "invoiceitem",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "plans": "plan",
    "products": "product",
    "refunds": "refund",
    "subscriptions": "subscription",
    "tax_rates": "tax_rate",
    "transfers": "transfer",
}


def read(name):
    return json.loads((RECORDED / name).read_text(encoding="utf-8"), parse_float=Decimal)


# Fields whose column has another name, as existing queries know it.
RENAMED = {"available_on": ["available"]}


def is_of_another_table(collection, name, value):
    """Lists of children, which are the rows of a collection of their own."""
    return (isinstance(value, dict) and value.get("object") == "list") or (collection, name) == ("balance_transactions", "fee_details")


def put_together(session, relation, key):
    """A stored row as one object: its columns, with what had no column beside them."""
    row = session.value(f"SELECT to_jsonb(t) FROM {relation} t WHERE id = %s", key)
    return row, row.pop("extra") or {}


@pytest.mark.proves("D7", "D9")
@pytest.mark.parametrize("collection", STRIPE)
def test_a_recorded_object_of_stripe_lands_without_loss(collection, pg, sim, apps):
    record = read("stripe/fixtures.json")["resources"][STRIPE[collection]]
    page = {"object": "list", "url": f"/v1/{collection}", "has_more": False, "data": [record]}
    sim.fault("stripe", "status", {"path_prefix": "/v1/"}, times=0, status=200, body=page)
    apps.server(pg, "stripe")
    outcome = pg.refresh_one("stripe", collection)
    assert (outcome.inserted, outcome.rejected) == (1, 0), outcome
    row, extra = put_together(pg, f"stripe.{collection}", record["id"])
    # Every member of the record is a column or in extra, nested ones flattened one level.
    lost = [
        name
        for name, value in record.items()
        if value not in (None, {}, [])
        and name != "object"
        and not is_of_another_table(collection, name, value)
        and row.get(name) is None
        and name not in extra
        and not any(column.startswith(f"{name}_") and row[column] is not None for column in row)
        and all(row.get(column) is None for column in RENAMED.get(name, []))
    ]
    assert lost == [], f"{collection} loses {lost}"


@pytest.mark.proves("C08")
@pytest.mark.parametrize("collection, sobject", [("accounts", "Account"), ("contacts", "Contact")])
def test_a_recorded_description_becomes_the_right_columns(collection, sobject, pg, sim, apps):
    described = read(f"salesforce/describe/{sobject}.json")
    sim.fault("salesforce", "status", {"contains": "/describe"}, times=0, status=200, body=described)
    apps.server(pg, "salesforce")
    pg.run("CREATE SCHEMA s", f"IMPORT FOREIGN SCHEMA salesforce LIMIT TO ({collection}) FROM SERVER salesforce INTO s")
    rows = pg.rows(
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type, (SELECT option_value FROM pg_options_to_table(attfdwoptions) "
        "WHERE option_name = 'field') AS field FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
        f"s.{collection}",
    )
    by_field = {row.field: row for row in rows}
    types = {
        "boolean": {"boolean"},
        "datetime": {"timestamp with time zone"},
        "date": {"date"},
        "int": {"integer", "bigint"},
        "double": {"numeric", "double precision"},
        "currency": {"numeric"},
        "percent": {"numeric"},
        "address": {"jsonb"},
        "location": {"jsonb"},
    }
    compounds = {f["compoundFieldName"] for f in described["fields"] if f.get("compoundFieldName")}
    for field in described["fields"]:
        if field["type"] == "base64" or (field["name"] in compounds and field["name"] != "Name"):
            continue
        assert field["name"] in by_field, f"no column for {field['name']}"
        assert by_field[field["name"]].type in types.get(field["type"], {"text"}), field["name"]
    names = [row.name for row in rows]
    assert len(names) == len(set(names))


def test_a_recorded_query_page_is_followed_to_the_next(pg, sim, apps):
    first = read("salesforce/query_paginated_first_page_response.json")
    last = read("salesforce/query_paginated_last_page_response.json")
    keys = [record.get("Id") for page in (first, last) for record in page["records"]]
    apps.connect(pg, "salesforce", ["accounts"])
    sim.fault("salesforce", "status", {"contains": "queryAll"}, times=1, status=200, body=first)
    sim.fault("salesforce", "status", {"contains": "/query"}, times=1, status=200, body=last)
    (outcome,) = pg.refresh("salesforce", "accounts")
    assert outcome.fetched == len(keys), outcome


@pytest.mark.proves("H01")
@pytest.mark.parametrize(
    "name, status, path",
    [("refresh_error_response.json", 400, "/services/oauth2"), ("auth_error_response.json", 400, "/services/oauth2")],
)
def test_a_recorded_refusal_of_the_token_stops_the_source(name, status, path, pg, sim, apps):
    sim.fault("salesforce", "status", {"path_prefix": path}, times=0, status=status, body=read(f"salesforce/{name}"))
    apps.server(pg, "salesforce")
    (outcome,) = pg.refresh("salesforce", "accounts")
    assert (outcome.status, outcome.sqlstate) == ("failed", "28000"), outcome
    assert len(sim.requests("salesforce")) == 1


@pytest.mark.proves("A01")
def test_a_recorded_expired_session_is_renewed(pg, sim, apps):
    sim.seed("salesforce", accounts=3)
    apps.connect(pg, "salesforce", ["accounts"])
    sim.fault("salesforce", "status", {"contains": "queryAll"}, times=1, status=401, body=read("salesforce/expired_session_response.json"))
    pg.refresh_one("salesforce", "accounts")
    apps.assert_like_ledger(pg, "salesforce", "accounts")


@pytest.mark.proves("H04")
def test_a_recorded_query_error_is_told_in_the_apps_words(pg, sim, apps):
    error = read("salesforce/query_error_response.json")
    apps.connect(pg, "salesforce", ["accounts"])
    sim.fault("salesforce", "status", {"contains": "queryAll"}, times=0, status=400, body=error)
    (outcome,) = pg.refresh("salesforce", "accounts")
    assert outcome.status == "failed", outcome
    assert outcome.sqlstate in ("HV00M", "HV005", "HV00R"), outcome
