"""What a refresh of Stripe leaves in the tables, and what it costs in calls."""

import pytest

from session import row_versions

SOME = ["charges", "customers", "invoices", "products"]
DAY = 86_400


def seed_some(sim):
    sim.seed("stripe", customers=150, charges=250, products=20, invoices=60)


@pytest.mark.proves("D1", "D9")
def test_a_first_refresh_stores_every_record_as_it_was_sent(pg, sim, apps):
    seed_some(sim)
    apps.connect(pg, "stripe", SOME)
    for outcome in pg.refresh("stripe"):
        assert (outcome.status, outcome.mode) == ("ok", "full"), outcome
    for collection in SOME:
        apps.assert_like_ledger(pg, "stripe", collection)


@pytest.mark.proves("D8")
def test_a_quiet_run_of_all_collections_costs_one_call(pg, sim, apps):
    seed_some(sim)
    apps.connect(pg, "stripe", SOME)
    pg.refresh("stripe")
    before = {c: row_versions(pg, f"stripe.{c}") for c in SOME}
    sim.clear_requests("stripe")
    outcomes = pg.refresh("stripe")
    (call,) = sim.requests("stripe")
    assert call["path"] == "/v1/events"
    for outcome in outcomes:
        assert (outcome.status, outcome.mode) == ("ok", "incremental"), outcome
        assert (outcome.inserted, outcome.updated, outcome.deleted) == (0, 0, 0), outcome
    assert sum(outcome.calls for outcome in outcomes) == 1
    assert {c: row_versions(pg, f"stripe.{c}") for c in SOME} == before


@pytest.mark.proves("D1", "C09")
def test_changes_additions_and_deletions_arrive_through_the_feed(pg, sim, apps):
    seed_some(sim)
    apps.connect(pg, "stripe", SOME)
    pg.refresh("stripe")
    first, second, *_ = sim.ids("stripe", "customers")
    product = sim.ids("stripe", "products")[0]
    sim.change("stripe", "customers", first, {"name": "Renamed", "metadata": {"tier": "gold"}})
    sim.remove("stripe", "customers", second)
    sim.change("stripe", "products", product, {"active": False})
    sim.create("stripe", "customers", {"name": "Newcomer", "email": "new@example.com"})
    sim.clear_requests("stripe")
    outcomes = {outcome.collection: outcome for outcome in pg.refresh("stripe")}
    assert (outcomes["customers"].inserted, outcomes["customers"].deleted) == (1, 1), outcomes["customers"]
    assert outcomes["products"].updated == 1
    assert {call["path"] for call in sim.requests("stripe")} == {"/v1/events"}
    for collection in SOME:
        apps.assert_like_ledger(pg, "stripe", collection)


def test_an_object_that_changed_often_is_stored_once_in_its_last_form(pg, sim, apps):
    sim.seed("stripe", customers=3)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    key = sim.ids("stripe", "customers")[0]
    for number in range(7):
        sim.change("stripe", "customers", key, {"name": f"Name {number}"})
    outcome = pg.refresh_one("stripe", "customers")
    assert outcome.updated == 1, outcome
    assert pg.value("SELECT name FROM stripe.customers WHERE id = %s", key) == "Name 6"


@pytest.mark.proves("C08")
def test_events_rendered_in_another_version_are_read_again_by_id(pg, sim, apps):
    sim.seed("stripe", customers=3)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    sim.config("stripe", event_api_version="2019-01-01")
    key = sim.ids("stripe", "customers")[0]
    sim.change("stripe", "customers", key, {"name": "Seen in an old version"})
    sim.clear_requests("stripe")
    pg.refresh_one("stripe", "customers")
    assert {call["path"] for call in sim.requests("stripe")} == {"/v1/events", f"/v1/customers/{key}"}
    apps.assert_like_ledger(pg, "stripe", "customers")


def test_every_call_pins_the_version(pg, sim, apps):
    seed_some(sim)
    apps.connect(pg, "stripe", SOME)
    pg.refresh("stripe")
    assert {call["api_version"] for call in sim.requests("stripe")} == {"2024-06-20"}


def test_a_connected_account_is_named_in_every_call(pg, sim, apps):
    sim.seed("stripe", customers=2)
    apps.server(pg, "stripe", account_id="acct_1032D82eZvKYlo2C")
    pg.refresh("stripe", "customers")
    assert {call["account"] for call in sim.requests("stripe")} == {"acct_1032D82eZvKYlo2C"}


@pytest.mark.proves("C07")
def test_a_checkpoint_older_than_the_feed_falls_back_to_a_full_listing(pg, sim, apps):
    sim.seed("stripe", customers=30)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    key = sim.ids("stripe", "customers")[0]
    sim.change("stripe", "customers", key, {"name": "Changed long ago"})
    sim.clock(40 * DAY)
    outcome = pg.refresh_one("stripe", "customers")
    assert outcome.mode == "full", outcome
    assert "30" in (outcome.message or "") or any("30" in n.message_primary for n in pg.notices), outcome
    apps.assert_like_ledger(pg, "stripe", "customers")


@pytest.mark.proves("C07", "D5")
def test_deletions_that_the_feed_has_forgotten_are_found_or_the_way_to_find_them_is_told(pg, sim, apps):
    sim.seed("stripe", customers=30)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    key = sim.ids("stripe", "customers")[0]
    sim.remove("stripe", "customers", key)
    sim.clock(40 * DAY)
    outcome = pg.refresh_one("stripe", "customers")
    if pg.value("SELECT NOT is_deleted FROM stripe.customers WHERE id = %s", key):
        assert "reconcile" in f"{outcome.message} {outcome.hint}", outcome
        pg.rows("SELECT cloudsync_reconcile('stripe', 'customers')")
    assert pg.column("SELECT id FROM stripe.customers WHERE is_deleted") == [key]


def test_changes_while_the_first_load_runs_arrive_with_the_next_run(pg, db, sim, apps):
    sim.seed("stripe", customers=350)
    apps.connect(pg, "stripe", ["customers"])
    keys = sim.ids("stripe", "customers")
    other = db.session()
    with sim.gate("stripe", path_prefix="/v1/customers", skip=1) as gate:
        run = other.background("SELECT * FROM cloudsync_refresh('stripe', 'customers')")
        gate.wait()
        for key in keys[::50]:
            sim.change("stripe", "customers", key, {"name": f"Changed meanwhile {key}"})
        sim.remove("stripe", "customers", keys[3])
        sim.create("stripe", "customers", {"name": "Made meanwhile"})
        gate.release()
        run.rows()
    pg.refresh_one("stripe", "customers")
    apps.assert_like_ledger(pg, "stripe", "customers")


def test_nested_lists_are_paged_only_when_there_is_more(pg, sim, apps):
    sim.seed("stripe", invoices=5)
    apps.server(pg, "stripe")
    pg.refresh_one("stripe", "invoice_lines")
    lines = sim.ledger("stripe", "invoice_lines")
    assert pg.value("SELECT count(*) FROM stripe.invoice_lines") == len(lines)
    by_invoice = {}
    for line in lines:
        invoice = line["record"].get("invoice")
        by_invoice[invoice] = by_invoice.get(invoice, 0) + 1
    more = [r for r in sim.requests("stripe") if r["path"].endswith("/lines")]
    assert len(more) == sum(1 for count in by_invoice.values() if count > 10)


@pytest.mark.proves("D5")
def test_a_customer_gone_from_the_list_is_marked_by_a_reconcile_only(pg, sim, apps):
    sim.seed("stripe", customers=20)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    key = sim.ids("stripe", "customers")[0]
    sim.remove("stripe", "customers", key)
    outcome = pg.row("SELECT * FROM cloudsync_reconcile('stripe', 'customers')")
    assert (outcome.status, outcome.deleted) == ("ok", 1), outcome
    assert pg.column("SELECT id FROM stripe.customers WHERE is_deleted") == [key]


@pytest.mark.proves("D5", "H08")
def test_a_reconcile_cut_short_marks_nothing(pg, sim, apps):
    sim.seed("stripe", customers=250)
    apps.server(pg, "stripe", max_tries="1")
    pg.refresh_one("stripe", "customers")
    sim.remove("stripe", "customers", sim.ids("stripe", "customers")[0])
    sim.fault("stripe", "truncate", {"path_prefix": "/v1/customers", "skip": 1}, times=0)
    outcome = pg.row("SELECT * FROM cloudsync_reconcile('stripe', 'customers')")
    assert outcome.status == "failed", outcome
    assert pg.value("SELECT count(*) FROM stripe.customers WHERE is_deleted") == 0


@pytest.mark.proves("D5")
def test_an_implausible_mass_deletion_waits_for_a_person(pg, sim, apps):
    sim.seed("stripe", customers=200)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    sim.fault("stripe", "status", {"path_prefix": "/v1/customers"}, times=0, status=200, body={"object": "list", "data": [], "has_more": False})
    outcome = pg.row("SELECT * FROM cloudsync_reconcile('stripe', 'customers')")
    assert outcome.deleted == 0 and outcome.status != "ok", outcome
    assert outcome.hint
    assert pg.value("SELECT count(*) FROM stripe.customers WHERE is_deleted") == 0


def test_a_reset_makes_the_next_refresh_a_full_one(pg, sim, apps):
    sim.seed("stripe", customers=10)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    assert pg.refresh_one("stripe", "customers").mode == "incremental"
    pg.rows("SELECT cloudsync_reset('stripe', 'customers')")
    outcome = pg.refresh_one("stripe", "customers")
    assert (outcome.mode, outcome.inserted, outcome.unchanged) == ("full", 0, 10), outcome


# What the simulator can be filled with; the other collections come out of these.
SEEDED = (
    "tax_rates coupons products plans customers cards bank_accounts payment_methods subscriptions payment_intents charges "
    "refunds disputes invoices invoice_items application_fees application_fee_refunds transfers transfer_reversals"
).split()
# Collections that the API no longer serves.
GONE = {"skus", "order_shipping_methods"}


def test_every_collection_of_the_catalog_can_be_refreshed(pg, sim, apps):
    collections = pg.column("SELECT collection FROM cloudsync.collections WHERE source = 'stripe' ORDER BY 1")
    sim.seed("stripe", **{collection: 12 for collection in SEEDED})
    apps.server(pg, "stripe")
    wrong = []
    for collection in collections:
        (outcome,) = pg.refresh("stripe", collection)
        if collection in GONE:
            assert outcome.status == "skipped", outcome
        elif outcome.status != "ok":
            wrong.append((collection, outcome.status, outcome.message, outcome.hint))
    assert wrong == []
    for collection in collections:
        if collection not in GONE:
            apps.assert_like_ledger(pg, "stripe", collection)
