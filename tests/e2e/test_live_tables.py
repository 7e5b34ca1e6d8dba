"""Live foreign tables: what is asked of the app, when, and that the answers are right."""

import pytest

ACCOUNT = "salesforce_live.accounts"
CUSTOMER = "stripe_live.customers"


@pytest.fixture
def salesforce(pg, sim, apps):
    """A session with a live table of 500 accounts and one of 100 leads, in pages of 200."""
    sim.seed("salesforce", accounts=500, leads=100)
    sim.config("salesforce", page_size=200)
    apps.connect(pg, "salesforce", ["accounts", "leads"])
    sim.clear_requests("salesforce")
    return pg


@pytest.fixture
def stripe(pg, sim, apps):
    sim.seed("stripe", customers=250, charges=150)
    apps.connect(pg, "stripe", ["customers", "charges"])
    sim.clear_requests("stripe")
    return pg


def test_all_pages_are_read_when_all_rows_are_wanted(salesforce, sim):
    assert salesforce.value(f"SELECT count(*) FROM {ACCOUNT}") == 500
    assert set(salesforce.column(f"SELECT id FROM {ACCOUNT}")) == set(sim.ids("salesforce", "accounts"))


def test_the_first_row_comes_before_the_second_page_is_asked_for(stripe, sim):
    stripe.run("BEGIN", f"DECLARE c CURSOR FOR SELECT id FROM {CUSTOMER}")
    assert len(stripe.rows("FETCH 1 FROM c")) == 1
    assert len(sim.requests("stripe")) == 1
    assert len(stripe.rows("FETCH 100 FROM c")) == 100
    assert len(sim.requests("stripe")) == 2
    stripe.run("COMMIT")
    assert len(sim.requests("stripe")) == 2


def test_limit_stops_the_paging(stripe, salesforce, sim, apps):
    assert len(stripe.rows(f"SELECT id FROM {CUSTOMER} LIMIT 5")) == 5
    assert len(sim.requests("stripe")) == 1
    assert len(salesforce.rows(f"SELECT id FROM {ACCOUNT} LIMIT 5")) == 5
    assert len(apps.data_requests("salesforce")) == 1


@pytest.mark.proves("P6")
def test_explain_shows_the_request_and_makes_no_call(salesforce, stripe, sim):
    plan = salesforce.explain(f"SELECT id, name FROM {ACCOUNT} WHERE industry = 'Energy'")
    assert "Cloudsync Request: GET " in plan
    assert "FROM Account" in plan and "Industry" in plan
    plan = stripe.explain(f"SELECT id FROM {CUSTOMER} WHERE id = 'cus_1'")
    assert "Cloudsync Request: GET " in plan and "/v1/customers" in plan
    assert sim.requests("salesforce") == [] and sim.requests("stripe") == []


def test_explain_analyze_counts_calls_pages_and_bytes(salesforce):
    plan = salesforce.explain(f"SELECT id FROM {ACCOUNT}", "ANALYZE")
    assert "Cloudsync Calls: 3" in plan
    assert "Cloudsync Pages: 3" in plan
    assert "Cloudsync Retries: 0" in plan
    assert "Cloudsync Bytes: " in plan


def test_only_the_columns_wanted_are_selected(salesforce, apps):
    salesforce.rows(f"SELECT name FROM {ACCOUNT} WHERE industry IS NOT NULL")
    soql = apps.data_requests("salesforce")[0]["soql"]
    selected = soql.split(" FROM ")[0]
    assert "Name" in selected
    assert "BillingCity" not in selected and "Description" not in selected


def test_a_key_is_looked_up_by_one_call(stripe, salesforce, sim, apps):
    key = sim.ids("stripe", "customers")[17]
    assert stripe.column(f"SELECT id FROM {CUSTOMER} WHERE id = %s", key) == [key]
    (call,) = sim.requests("stripe")
    assert call["path"] == f"/v1/customers/{key}"
    key = sim.ids("salesforce", "accounts")[17]
    assert salesforce.column(f"SELECT id FROM {ACCOUNT} WHERE id = %s", key) == [key]
    assert len(apps.data_requests("salesforce")) == 1


@pytest.mark.proves("H03")
def test_a_key_the_app_does_not_know_gives_no_row(stripe, sim):
    assert stripe.rows(f"SELECT id FROM {CUSTOMER} WHERE id = 'cus_nobody'") == []
    assert len(sim.requests("stripe")) == 1


def test_a_list_of_keys_costs_at_most_a_call_each(stripe, salesforce, sim, apps):
    keys = sim.ids("stripe", "customers")[:3]
    assert sorted(stripe.column(f"SELECT id FROM {CUSTOMER} WHERE id = ANY(%s)", keys)) == sorted(keys)
    assert len(sim.requests("stripe")) <= 3
    keys = sim.ids("salesforce", "accounts")[:3]
    assert sorted(salesforce.column(f"SELECT id FROM {ACCOUNT} WHERE id = ANY(%s)", keys)) == sorted(keys)
    assert len(apps.data_requests("salesforce")) == 1


def test_a_list_given_with_the_same_key_twice_gives_its_row_once(stripe, sim):
    key = sim.ids("stripe", "customers")[0]
    assert stripe.column(f"SELECT id FROM {CUSTOMER} WHERE id IN ('{key}', '{key}', 'cus_nobody')") == [key]


def test_a_join_of_three_local_ids_makes_at_most_three_calls(stripe, sim):
    keys = sim.ids("stripe", "customers")[:3]
    stripe.run("CREATE TABLE wanted (id text PRIMARY KEY)")
    for key in keys:
        stripe.rows("INSERT INTO wanted VALUES (%s)", key)
    stripe.run("ANALYZE wanted")
    joined = stripe.column(f"SELECT c.id FROM wanted w JOIN {CUSTOMER} c ON c.id = w.id ORDER BY 1")
    assert joined == sorted(keys)
    assert len(sim.requests("stripe")) <= 3
    assert {call["path"] for call in sim.requests("stripe")} <= {f"/v1/customers/{key}" for key in keys}


def test_a_range_on_the_cursor_reads_only_that_part(stripe, sim):
    everything = stripe.column(f"SELECT created FROM {CUSTOMER} ORDER BY created")
    sim.clear_requests("stripe")
    bound = everything[-20]
    found = stripe.column(f"SELECT created FROM {CUSTOMER} WHERE created >= %s ORDER BY 1", bound)
    assert found == [c for c in everything if c >= bound]
    (call,) = sim.requests("stripe")
    assert "created[gte]" in call["query"]


def test_order_by_and_limit_go_to_the_app_when_nothing_is_left_to_check(salesforce, apps):
    newest = salesforce.column(f"SELECT system_modstamp FROM {ACCOUNT} ORDER BY system_modstamp DESC LIMIT 3")
    (call,) = apps.data_requests("salesforce")
    assert "ORDER BY SystemModstamp DESC" in call["soql"]
    assert "LIMIT 3" in call["soql"]
    everything = salesforce.column(f"SELECT system_modstamp FROM {ACCOUNT}")
    assert newest == sorted(everything, reverse=True)[:3]


def test_limit_is_not_sent_with_a_condition_that_only_postgres_can_check(salesforce, apps):
    salesforce.rows(f"SELECT id FROM {ACCOUNT} WHERE length(name) > 3 LIMIT 3")
    assert all("LIMIT" not in (call.get("soql") or "") for call in apps.data_requests("salesforce"))


CONDITIONS = [
    "industry = 'Energy'",
    "industry <> 'Energy'",
    "industry IS NULL",
    "industry IS NOT NULL AND annual_revenue > 1000000",
    "name = 'ALDER LOGISTICS'",
    "name = 'Alder Logistics'",
    "name LIKE 'A%'",
    "name LIKE '%a_e%'",
    "name ILIKE 'a%'",
    "name >= 'M'",
    "name = 'O''Brien \\ Söhne'",
    "number_of_employees BETWEEN 10 AND 500",
    "annual_revenue >= 123456.78",
    "NOT is_deleted",
    "is_deleted",
    "created_date >= now() - interval '400 days'",
    "system_modstamp > (SELECT max(system_modstamp) - interval '1 day' FROM salesforce.accounts)",
    "industry IN ('Energy', 'Media', NULL)",
    "industry = 'Energy' OR billing_country = 'DE'",
    "billing_country = 'DE' AND (industry = 'Energy' OR annual_revenue < 500000)",
    "id > '001'",
    "last_activity_date < current_date",
    "name <> name",
    "coalesce(industry, 'none') = 'none'",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_gives_the_same_rows_live_and_stored(condition, pg, sim, apps):
    sim.seed("salesforce", accounts=150)
    # Case, apostrophes, backslashes and missing values: where SOQL and SQL differ.
    for name in ("Alder Logistics", "ALDER LOGISTICS", "alder logistics", "O'Brien \\ Söhne", "100%", "a_e"):
        sim.create("salesforce", "accounts", {"Name": name, "Industry": None})
    sim.remove("salesforce", "accounts", sim.ids("salesforce", "accounts")[2])
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    stored = pg.column(f"SELECT id FROM salesforce.accounts WHERE {condition} ORDER BY id")
    live = pg.column(f"SELECT id FROM {ACCOUNT} WHERE {condition} ORDER BY id")
    assert live == stored


@pytest.mark.parametrize(
    "order",
    [
        "ORDER BY name LIMIT 7",
        "ORDER BY name DESC LIMIT 7",
        "ORDER BY industry NULLS FIRST, id LIMIT 20",
        "ORDER BY industry DESC, id LIMIT 20",
        "ORDER BY annual_revenue DESC NULLS LAST, id LIMIT 9",
        "ORDER BY created_date, id OFFSET 5 LIMIT 10",
        "ORDER BY id DESC LIMIT 4",
        "ORDER BY system_modstamp, id",
    ],
)
def test_an_order_gives_the_same_rows_live_and_stored(order, pg, sim, apps):
    sim.seed("salesforce", accounts=120)
    for name in ("zeta", "Zeta", "ÄÖ", "aÖ"):
        sim.create("salesforce", "accounts", {"Name": name, "Industry": None, "AnnualRevenue": None})
    apps.connect(pg, "salesforce", ["accounts"])
    pg.refresh_one("salesforce", "accounts")
    columns = order.split("ORDER BY ")[1].split(" LIMIT")[0].split(" OFFSET")[0]
    names = ", ".join(part.split()[0] for part in columns.split(", "))
    assert pg.rows(f"SELECT {names} FROM {ACCOUNT} {order}") == pg.rows(f"SELECT {names} FROM salesforce.accounts {order}")


def test_a_cached_generic_plan_can_be_run_again_and_again(stripe, sim):
    keys = sim.ids("stripe", "customers")[:10]
    stripe.run("SET plan_cache_mode = force_generic_plan", f"PREPARE one (text) AS SELECT id FROM {CUSTOMER} WHERE id = $1")
    for key in keys:
        assert stripe.column(f"EXECUTE one ('{key}')") == [key]
    assert len(sim.requests("stripe")) == 10


def test_a_plpgsql_function_can_scan_ten_times(stripe, sim):
    keys = sim.ids("stripe", "customers")[:10]
    stripe.run(
        f"CREATE FUNCTION name_of(key text) RETURNS text LANGUAGE plpgsql AS "
        f"$$ BEGIN RETURN (SELECT c.id FROM {CUSTOMER} c WHERE c.id = key); END $$"
    )
    assert [stripe.value("SELECT name_of(%s)", key) for key in keys] == keys


def test_a_scan_can_start_again_with_other_values(stripe, sim):
    keys = sim.ids("stripe", "customers")[:4]
    values = ", ".join(f"('{key}')" for key in keys)
    rows = stripe.rows(
        f"SELECT v.key, c.id FROM (VALUES {values}) v (key), LATERAL (SELECT id FROM {CUSTOMER} c WHERE c.id = v.key OFFSET 0) c"
    )
    assert sorted(rows) == sorted((key, key) for key in keys)


def test_two_scans_of_one_table_run_side_by_side(stripe, sim):
    count = stripe.value(f"SELECT count(*) FROM {CUSTOMER} a JOIN {CUSTOMER} b USING (id)")
    assert count == 250


def test_two_apps_are_joined_live(salesforce, stripe):
    assert salesforce.value(f"SELECT count(*) FROM {ACCOUNT} a, {CUSTOMER} c WHERE a.name = c.name") > 0


def test_a_scan_abandoned_by_an_error_leaves_nothing(stripe, sim):
    for _ in range(5):
        with stripe.fails("22012"):
            stripe.rows(f"SELECT 1 / (length(id) - length(id)) FROM {CUSTOMER}")
    assert stripe.value(f"SELECT count(*) FROM {CUSTOMER}") == 250


def test_a_live_table_is_read_only(stripe):
    with stripe.fails("0A000", "55000") as failure:
        stripe.run(f"INSERT INTO {CUSTOMER} (id) VALUES ('cus_x')")
    assert failure.message
    with stripe.fails("0A000", "55000"):
        stripe.run(f"DELETE FROM {CUSTOMER}")


@pytest.mark.proves("R01")
def test_a_live_table_can_be_read_in_a_read_only_transaction(stripe):
    stripe.run("BEGIN READ ONLY")
    assert stripe.value(f"SELECT count(*) FROM {CUSTOMER}") == 250
    stripe.run("COMMIT")


def test_a_deleted_record_is_shown_as_deleted(pg, sim, apps):
    sim.seed("salesforce", leads=4)
    apps.connect(pg, "salesforce", ["leads"])
    key = sim.ids("salesforce", "leads")[0]
    sim.remove("salesforce", "leads", key)
    assert pg.column("SELECT id FROM salesforce_live.leads WHERE is_deleted") == [key]


def test_a_scan_that_fails_says_why(stripe, sim):
    sim.fault("stripe", "status", {"path_prefix": "/v1/charges"}, times=0, status=403, body={"error": {"type": "invalid_request_error", "message": "The provided key does not have the required permissions"}})
    with stripe.fails("42501") as failure:
        stripe.rows("SELECT * FROM stripe_live.charges")
    assert "stripe.charges" in failure.message
    assert failure.hint


def test_a_hundred_short_scans_leave_no_memory_behind(stripe, sim):
    query = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts"
    stripe.rows(f"SELECT id FROM {CUSTOMER} LIMIT 1")
    before = stripe.value(query)
    for _ in range(100):
        stripe.rows(f"SELECT id FROM {CUSTOMER} LIMIT 1")
    assert stripe.value(query) - before < 1_000_000
