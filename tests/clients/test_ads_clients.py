"""The ad networks' and Marketing Cloud's own clients read everything the simulator has, unchanged.

Google's client speaks gRPC only: its message classes read the REST answers here, strictly, and google-auth gets the tokens.
"""

import datetime as dt
import json
import time

import facebook_business.exceptions
import FuelSDK
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import pytest
import requests
import zeep
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.adreportrun import AdReportRun
from facebook_business.adobjects.ad import Ad
from facebook_business.adobjects.adset import AdSet
from facebook_business.adobjects.campaign import Campaign
from facebook_business.adobjects.user import User
from facebook_business.api import FacebookAdsApi
from facebook_business.session import FacebookSession
from google.ads.googleads.v23.services.types import google_ads_service
from google.ads.googleads.v23.errors.types import errors as google_errors
from google.protobuf import json_format

SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])

# --------------------------------------------------------------------------------------------------------- Facebook Ads

ACCOUNTS = ["act_100000000000001", "act_100000000000002"]
EDGES = {"campaigns": ("get_campaigns", Campaign), "ad_sets": ("get_ad_sets", AdSet), "ads": ("get_ads", Ad)}
# Nodes of their own: only their id comes unless more of them is asked for.
LINKED = {"campaign", "adset", "creative"}


def graph(control, scheme="https", token="sim-token", secret="sim-secret"):
    session = FacebookSession("sim-app", secret, token)
    session.GRAPH = control.addresses["facebook_ads"][scheme]
    session.requests.verify, session.requests.trust_env = control.addresses["ca"], False
    return FacebookAdsApi(session)


@pytest.fixture
def ads(control):
    control.post("/facebook_ads/seed", {"campaigns": 30, "ad_sets": 60, "ads": 120, "insights": 1200, "until": "now"})
    return control


def statuses(kind):
    return [value for name, value in vars(kind.EffectiveStatus).items() if not name.startswith("_")]


def read(account, api, collection, params=None):
    """Everything on an edge, with every field that the ledger has."""
    method, kind = EDGES[collection]
    ledger_fields = sorted(set().union(*read.ledger[collection].values()) - LINKED)
    known = [value for name, value in vars(kind.Field).items() if not name.startswith("_")]
    cursor = getattr(AdAccount(account, api=api), method)(
        fields=[f for f in ledger_fields if f in known],
        params={"limit": 7, "effective_status": statuses(kind)} | (params or {}),
    )
    return {one["id"]: one.export_all_data() for one in cursor}


def given(record):
    return {name: value for name, value in record.items() if value is not None and name not in LINKED}


@SCHEMES
@pytest.mark.parametrize("collection", EDGES)
def test_facebook_edges_hold_the_ledger(ads, scheme, collection):
    ids = list(ads.ledger("facebook_ads", collection))
    ads.delete(f"/facebook_ads/{collection}/{ids[0]}")
    ads.patch(f"/facebook_ads/{collection}/{ids[1]}", {"status": "ARCHIVED"})
    ledger = ads.ledger("facebook_ads", collection, deleted=True)
    read.ledger = {collection: ledger}
    found = {}
    for account in ACCOUNTS:
        found |= read(account, graph(ads, scheme), collection)
    assert found == {i: given(r) for i, r in ledger.items()}
    live = {}
    for account in ACCOUNTS:
        live |= read(account, graph(ads, scheme), collection, {"effective_status": ["ACTIVE", "PAUSED"]})
    assert ids[0] not in live and ids[1] not in live and len(live) <= len(ledger) - 2


def test_facebook_changes_are_found_by_their_time(ads):
    since = int(time.time()) + 5
    ads.post("/clock", {"offset_seconds": 60})
    changed = list(ads.ledger("facebook_ads", "ads"))[3:9]
    for id in changed:
        ads.patch(f"/facebook_ads/ads/{id}", {"name": "Renamed"})
    found = set()
    for account in ACCOUNTS:
        filtering = [{"field": "ad.updated_time", "operator": "GREATER_THAN", "value": since}]
        cursor = AdAccount(account, api=graph(ads)).get_ads(fields=["id", "name"], params={"filtering": filtering, "limit": 2})
        found |= {one["id"] for one in cursor if one["name"] == "Renamed"}
    assert found == set(changed)


def test_facebook_pages_may_be_empty_or_come_twice(ads):
    want = sorted(i for i, r in ads.ledger("facebook_ads", "ads").items() if r["account_id"] in ACCOUNTS[0])
    for kind in ["empty_page", "duplicate_page"]:
        ads.post("/facebook_ads/faults", {"kind": kind, "match": {"path_prefix": "/v26.0", "skip": 1}})
        # The client takes the cursor of a page, which an empty one does not have: links must do.
        url, found = f"{ads.addresses['facebook_ads']['http']}/v26.0/{ACCOUNTS[0]}/ads?limit=25&effective_status={json.dumps(statuses(Ad))}", []
        while url:
            page = requests.get(url, headers={"Authorization": "Bearer sim-token"}).json()
            found.extend(one["id"] for one in page["data"])
            url = page.get("paging", {}).get("next")
        assert sorted(set(found)) == want and (len(found) > len(want)) == (kind == "duplicate_page")


def test_facebook_accounts_and_batches(ads):
    api = graph(ads)
    names = ["id", "name", "account_status", "currency", "timezone_name", "timezone_offset_hours_utc", "spend_cap", "business"]
    found = {one["id"]: one.export_all_data() for one in User("me", api=api).get_ad_accounts(fields=names)}
    ledger = ads.ledger("facebook_ads", "ad_accounts")
    assert found == {i: {n: r[n] for n in names} for i, r in ledger.items()}
    assert all(type(one["account_status"]) is int and type(one["spend_cap"]) is str for one in found.values())

    ids = list(ads.ledger("facebook_ads", "campaigns"))[:3]
    batch, answers = api.new_batch(), []
    for id in [*ids, "999"]:
        Campaign(id, api=api).api_get(fields=["name"], batch=batch, success=answers.append, failure=answers.append)
    batch.execute()
    assert [a.json().get("id") for a in answers] == [*ids, None] and answers[3].status() == 400


def test_facebook_insights_synchronous_and_by_report_run(ads):
    ledger = ads.ledger("facebook_ads", "insights")
    days = sorted({row["date_start"] for row in ledger.values()})
    fields = ["account_id", "ad_id", "ad_name", "campaign_id", "impressions", "clicks", "spend", "cpc", "ctr", "actions"]
    params = {"level": "ad", "time_increment": 1, "limit": 50, "time_range": {"since": days[2], "until": days[5]}}
    want = {
        key: {n: row[n] for n in [*fields, "date_start", "date_stop"] if n in row}
        for key, row in ledger.items()
        if days[2] <= row["date_start"] <= days[5]
    }

    def keyed(rows):
        rows = [row.export_all_data() for row in rows]
        return {f"{r['account_id']}:{r['ad_id']}:{r['date_start']}": r for r in rows}

    direct, by_run = {}, {}
    for account in ACCOUNTS:
        direct |= keyed(AdAccount(account, api=graph(ads)).get_insights(fields=fields, params=dict(params)))
        made = AdAccount(account, api=graph(ads)).get_insights_async(fields=fields, params=dict(params))
        run, states = AdReportRun(made["report_run_id"], api=graph(ads)), []
        while "Job Completed" not in states:
            run.api_get()
            states.append(run["async_status"])
            assert len(states) < 10
        assert run["async_percent_completion"] == 100 and states[0] == "Job Not Started"
        by_run |= keyed(run.get_insights(params={"limit": 30}))
    assert direct == want and len(want) == 480
    assert by_run == want


@pytest.mark.parametrize(
    "config, status, code",
    [
        ({"access_token": "other"}, 400, 190),
        ({"app_secret": "other"}, 400, 100),
        ({"denied": ["ads"]}, 403, 10),
        ({"denied": [ACCOUNTS[0]]}, 403, 200),
        ({"most_per_page": 10}, 500, 1),
        ({"call_quota": 1}, 400, 80004),
        ({"call_quota": 1, "rate_error": 613}, 400, 613),
    ],
)
def test_facebook_errors_are_the_apps_own(ads, config, status, code):
    ads.post("/facebook_ads/config", config)
    with pytest.raises(facebook_business.exceptions.FacebookRequestError) as refused:
        for _ in range(2):
            AdAccount(ACCOUNTS[0], api=graph(ads)).get_ads(params={"limit": 20})
    assert (refused.value.http_status(), refused.value.api_error_code()) == (status, code)
    if "call_quota" in config:
        usage = json.loads(refused.value.http_headers()["x-business-use-case-usage"])["100000000000001"][0]
        assert usage["call_count"] == 100 and usage["estimated_time_to_regain_access"] == 5


@pytest.mark.filterwarnings("ignore:ads does not allow field nonsense")
def test_facebook_field_and_date_mistakes(ads):
    account = AdAccount(ACCOUNTS[0], api=graph(ads))
    long_ago = (dt.date.today() - dt.timedelta(days=38 * 31)).isoformat()
    for ask, code in [
        (lambda: account.get_ads(fields=["nonsense"]), 100),
        (lambda: account.get_insights(params={"time_range": {"since": long_ago, "until": long_ago}}), 3018),
        (lambda: Ad("1", api=graph(ads)).api_get(), 100),
    ]:
        with pytest.raises(facebook_business.exceptions.FacebookRequestError) as refused:
            ask()
        assert refused.value.api_error_code() == code


# ----------------------------------------------------------------------------------------------------------- Google Ads

MANAGER, ONE, TWO = "1000000001", "1000000002", "1000000004"


@pytest.fixture
def adwords(control):
    control.post(
        "/google_ads/seed",
        {"campaigns": 10, "ad_groups": 20, "ads": 60, "keywords": 40, "ad_performance_report": 600,
         "keywords_performance_report": 200, "search_performance_report": 300, "click_performance_report": 120,
         "until": "now"},
    )
    return control


class Trusting(requests.Session):
    """Trusts the simulator's authority, whatever REQUESTS_CA_BUNDLE says."""

    def __init__(self, control):
        super().__init__()
        self.ca = control.addresses["ca"]

    def request(self, *args, **kwargs):
        kwargs["verify"] = self.ca
        return super().request(*args, **kwargs)


def signed(control, scheme="https", refresh_token="sim-refresh"):
    credentials = google.oauth2.credentials.Credentials(
        None, refresh_token=refresh_token, client_id="sim-client", client_secret="sim-secret",
        token_uri=control.addresses["google_ads"][scheme] + "/token", scopes=["https://www.googleapis.com/auth/adwords"],
    )
    auth = google.auth.transport.requests.Request(Trusting(control))
    session = google.auth.transport.requests.AuthorizedSession(credentials, auth_request=auth)
    session.verify, session.trust_env = control.addresses["ca"], False
    session.headers.update({"developer-token": "sim-developer", "login-customer-id": MANAGER})
    return session


def ask(control, customer, query, method="searchStream", scheme="https", **body):
    url = f"{control.addresses['google_ads'][scheme]}/v23/customers/{customer}/googleAds:{method}"
    return signed(control, scheme).post(url, json={"query": query, **body})


def rows(control, customer, query, scheme="https"):
    """The rows of a stream, read by Google's own messages: a name or type they do not know is an error."""
    found = []
    for chunk in ask(control, customer, query, scheme=scheme).json():
        message = google_ads_service.SearchGoogleAdsStreamResponse()
        json_format.ParseDict(chunk, message._pb)
        assert message.field_mask.paths
        found.extend(message.results)
    return found


@SCHEMES
def test_google_resources_hold_the_ledger(adwords, scheme):
    gone = next(iter(adwords.ledger("google_ads", "campaigns")))
    adwords.delete(f"/google_ads/campaigns/{gone}")
    campaigns, ads = {}, {}
    for customer in [ONE, TWO]:
        query = ("SELECT campaign.id, campaign.name, campaign.status, campaign.serving_status, campaign.start_date_time,"
                 " campaign.advertising_channel_type, campaign.url_custom_parameters, campaign_budget.amount_micros FROM campaign")
        for row in rows(adwords, customer, query, scheme):
            campaigns[str(row.campaign.id)] = (row.campaign.name, row.campaign.status.name, row.campaign_budget.amount_micros > 0)
        for row in rows(adwords, customer, "SELECT ad_group_ad.ad.id, ad_group_ad.ad.final_urls, ad_group_ad.ad.type FROM ad_group_ad"):
            ads[str(row.ad_group_ad.ad.id)] = list(row.ad_group_ad.ad.final_urls)
    ledger = adwords.ledger("google_ads", "campaigns", deleted=True)
    assert campaigns == {i: (r["name"], r["status"], True) for i, r in ledger.items()}
    assert campaigns[gone][1] == "REMOVED"
    assert ads == {i: r["ad"]["finalUrls"] for i, r in adwords.ledger("google_ads", "ads").items()}


REPORTS = {
    "ad_performance_report": (
        "SELECT customer.id, ad_group.id, ad_group_ad.ad.id, segments.date, metrics.clicks, metrics.cost_micros, metrics.ctr,"
        " metrics.conversions, metrics.interaction_event_types FROM ad_group_ad WHERE segments.date BETWEEN '{}' AND '{}'",
        lambda r: (r.ad_group.id, r.ad_group_ad.ad.id, r.segments.date),
    ),
    "campaign_performance_report": (
        "SELECT campaign.id, segments.date, metrics.clicks, metrics.cost_micros FROM campaign"
        " WHERE segments.date BETWEEN '{}' AND '{}'",
        lambda r: (r.campaign.id, r.segments.date),
    ),
    "keywords_performance_report": (
        "SELECT ad_group.id, ad_group_criterion.criterion_id, ad_group_criterion.keyword.text, segments.date, metrics.clicks,"
        " metrics.cost_micros, ad_group_criterion.effective_cpc_bid_source FROM keyword_view"
        " WHERE segments.date BETWEEN '{}' AND '{}'",
        lambda r: (r.ad_group.id, r.ad_group_criterion.criterion_id, r.segments.date),
    ),
    "search_performance_report": (
        "SELECT ad_group.id, ad_group_ad.ad.id, search_term_view.search_term, segments.search_term_match_type, segments.device,"
        " segments.ad_network_type, segments.date, metrics.clicks, metrics.cost_micros FROM search_term_view"
        " WHERE segments.date BETWEEN '{}' AND '{}'",
        lambda r: (r.ad_group.id, r.ad_group_ad.ad.id, r.search_term_view.search_term, r.segments.search_term_match_type.name,
                   r.segments.device.name, r.segments.ad_network_type.name, r.segments.date),
    ),
}


@pytest.mark.parametrize("report", REPORTS)
def test_google_reports_hold_the_ledger(adwords, report):
    query, key = REPORTS[report]
    ledger = adwords.ledger("google_ads", report)
    days = sorted({row["segments"]["date"] for row in ledger.values()})
    days = (days[1], days[-1])
    found = {}
    for customer in [ONE, TWO]:
        for row in rows(adwords, customer, query.format(*days)):
            found[":".join(map(str, key(row)))] = (row.metrics.clicks, row.metrics.cost_micros)
    want = {i: (int(r["metrics"]["clicks"]), int(r["metrics"]["costMicros"])) for i, r in ledger.items()
            if days[0] <= r["segments"]["date"] <= days[1]}
    # Rows whose figures are all zero are left out once a segment is selected.
    assert {i: v for i, v in want.items() if any(v)} == {i: v for i, v in found.items() if any(v)}
    assert len(found) > 30


def test_google_clicks_come_day_by_day(adwords):
    ledger = adwords.ledger("google_ads", "click_performance_report")
    found = {}
    for day in {row["segments"]["date"] for row in ledger.values()}:
        for customer in [ONE, TWO]:
            query = ("SELECT click_view.gclid, click_view.ad_group_ad, click_view.page_number, segments.click_type, segments.slot,"
                     f" segments.date, ad_group.id, campaign.id FROM click_view WHERE segments.date = '{day}'")
            for row in rows(adwords, customer, query):
                found[f"{row.click_view.gclid}:{row.segments.date}"] = row.click_view.ad_group_ad
    assert found == {i: r["clickView"]["adGroupAd"] for i, r in ledger.items()}


def test_google_pages_and_hierarchy(adwords):
    adwords.post("/google_ads/config", {"page_size": 7})
    token, ids = "", []
    while True:
        answer = ask(adwords, ONE, "SELECT ad_group.id FROM ad_group ORDER BY ad_group.id", "search", pageToken=token).json()
        page = google_ads_service.SearchGoogleAdsResponse()
        json_format.ParseDict(answer, page._pb)
        ids.extend(row.ad_group.id for row in page.results)
        token = page.next_page_token
        if not token:
            break
    assert len(ids) == 10 and ids == sorted(ids)
    query = ("SELECT customer_client.client_customer, customer_client.level, customer_client.id, customer_client.manager,"
             " customer_client.time_zone, customer_client.status FROM customer_client")
    clients = {row.customer_client.id: row.customer_client for row in rows(adwords, MANAGER, query)}
    assert {c.level for c in clients.values()} == {0, 1, 2} and not clients[int(TWO)].manager
    assert clients[1000000005].status.name == "CANCELED"


@pytest.mark.parametrize(
    "customer, config, query, status, family, code",
    [
        ("1000000005", {}, "SELECT customer.id FROM customer", 403, "authorization_error", "CUSTOMER_NOT_ENABLED"),
        (ONE, {"denied": [ONE]}, "SELECT customer.id FROM customer", 403, "authorization_error", "USER_PERMISSION_DENIED"),
        (MANAGER, {}, "SELECT campaign.id, metrics.clicks FROM campaign", 400, "query_error", "REQUESTED_METRICS_FOR_MANAGER"),
        (ONE, {}, "SELECT campaign.start_date FROM campaign", 400, "query_error", "UNRECOGNIZED_FIELD"),
        (ONE, {"daily_quota": 1}, "SELECT customer.id FROM customer", 429, "quota_error", "RESOURCE_EXHAUSTED"),
        (ONE, {"developer_token": "other"}, "SELECT customer.id FROM customer", 401, "authentication_error", "DEVELOPER_TOKEN_INVALID"),
    ],
)
def test_google_errors_are_googles_own_messages(adwords, customer, config, query, status, family, code):
    adwords.post("/google_ads/config", config)
    for _ in range(2):
        answer = ask(adwords, customer, query)
    assert answer.status_code == status
    detail = answer.json()[0]["error"]["details"][0]
    assert detail.pop("@type") == "type.googleapis.com/google.ads.googleads.v23.errors.GoogleAdsFailure"
    failure = google_errors.GoogleAdsFailure()
    json_format.ParseDict(detail, failure._pb)
    assert getattr(failure.errors[0].error_code, family).name == code
    if status == 429:
        assert failure.errors[0].details.quota_error_details.retry_delay == dt.timedelta(seconds=30)


def test_google_tokens_end_and_are_renewed(adwords):
    session = signed(adwords)
    url = adwords.addresses["google_ads"]["https"] + "/v23/customers:listAccessibleCustomers"
    assert session.get(url).json() == {"resourceNames": [f"customers/{MANAGER}"]}
    adwords.delete("/google_ads/tokens")
    assert session.get(url).status_code == 200, "a 401 makes google-auth ask for another token"
    assert adwords.get("/google_ads/tokens")["granted"] == 2
    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
        signed(adwords, refresh_token="other").get(url)


# -------------------------------------------------------------------------------------------------------- Marketing Cloud


@pytest.fixture
def cloud(control):
    control.post("/salesforce_marketing_cloud/seed", {"lists": 60, "campaigns": 120, "campaign_assets": 30, "interactions": 7})
    return control


@pytest.fixture
def fuel(cloud, tmp_path, monkeypatch):
    """Salesforce's own SDK. It keeps a copy of the service's description and trusts what the environment says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", cloud.addresses["ca"])
    monkeypatch.setenv("SSL_CERT_FILE", cloud.addresses["ca"])
    monkeypatch.chdir(tmp_path)

    def connect(scheme="https", **changes):
        address = cloud.addresses["salesforce_marketing_cloud"][scheme]
        params = {
            "clientid": "sim-client", "clientsecret": "sim-secret", "authenticationurl": address,
            "useOAuth2Authentication": "True", "accountId": "7000001", "defaultwsdl": address + "/etframework.wsdl",
            "wsdl_file_local_loc": str(tmp_path / f"{scheme}.wsdl"),
        }
        return FuelSDK.ET_Client(False, False, params | changes)

    return connect


def central(stamp):
    """A stamp of the ledger (UTC) in the zone of the app, which does not say so: Central standard time, also in summer."""
    at = dt.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    return at.astimezone(dt.timezone(dt.timedelta(hours=-6))).replace(tzinfo=None)


@SCHEMES
def test_fuel_reads_all_lists(cloud, fuel, scheme):
    lists = FuelSDK.ET_List()
    lists.auth_stub = fuel(scheme)
    lists.props = ["ID", "ListName", "Category", "CustomerKey", "ModifiedDate"]
    cloud.post("/salesforce_marketing_cloud/config", {"page_size": 25})
    answer = lists.get()
    found, batches = list(answer.results), 1
    while answer.more_results:
        answer = lists.getMoreResults()
        found.extend(answer.results)
        batches += 1
    assert batches == 3 and answer.status
    ledger = cloud.ledger("salesforce_marketing_cloud", "lists")
    assert {str(r.ID): (r.ListName, r.Category, r.CustomerKey, r.ModifiedDate) for r in found} == {
        i: (r["ListName"], r["Category"], r["CustomerKey"], central(r["ModifiedDate"])) for i, r in ledger.items()
    }


def test_fuel_filters_describes_and_is_refused(cloud, fuel):
    lists = FuelSDK.ET_List()
    lists.auth_stub = fuel()
    described = lists.info().results[0]
    can = [p.Name for p in described.Properties if p.IsRetrievable]
    assert "ModifiedDate" in can and "SendClassification" not in can
    ledger = cloud.ledger("salesforce_marketing_cloud", "lists")
    stamps = sorted(central(r["ModifiedDate"]) for r in ledger.values())
    lists.props = ["ID", "ModifiedDate"]
    lists.search_filter = {
        "LeftOperand": {"Property": "ModifiedDate", "SimpleOperator": "greaterThanOrEqual", "DateValue": stamps[20]},
        "LogicalOperator": "AND",
        "RightOperand": {"Property": "ModifiedDate", "SimpleOperator": "lessThanOrEqual", "DateValue": stamps[40]},
    }
    found = lists.get().results
    assert {str(r.ID) for r in found} == {i for i, r in ledger.items() if stamps[20] <= central(r["ModifiedDate"]) <= stamps[40]}
    lists.search_filter, lists.props = None, ["ID", "SendClassification"]
    refused = lists.get()
    assert not refused.status and refused.message.startswith("Error: The Request Property(s) SendClassification do not match")
    cloud.post("/salesforce_marketing_cloud/config", {"denied": ["lists"]})
    lists.props = ["ID"]
    assert lists.get().message == "Error: API Permission Failed"
    with pytest.raises(Exception, match="invalid_client"):
        fuel(clientsecret="other")


@SCHEMES
def test_fuel_reads_campaigns_and_their_assets(cloud, fuel, scheme):
    campaigns = FuelSDK.ET_Campaign()
    campaigns.auth_stub = fuel(scheme)
    found, number = {}, 1
    while True:
        answer = campaigns.get({"$page": number, "$pageSize": 50})
        found |= {c["id"]: c for c in answer.results["items"]}
        if not answer.more_results:
            break
        number += 1
    ledger = cloud.ledger("salesforce_marketing_cloud", "campaigns")
    assert number == 3 and {i: c["name"] for i, c in found.items()} == {i: r["name"] for i, r in ledger.items()}
    assert all(dt.datetime.fromisoformat(found[i]["modifiedDate"]) == central(r["modifiedDate"]) for i, r in ledger.items())
    assets = {}
    for id in list(found)[:30]:
        one = FuelSDK.ET_Campaign_Asset()
        one.auth_stub, one.props = campaigns.auth_stub, {"id": id}
        assets |= {f"{a['campaignId']}:{a['id']}": a["itemID"] for a in one.get().results["items"]}
    assert assets == {i: r["itemID"] for i, r in cloud.ledger("salesforce_marketing_cloud", "campaign_assets").items()}


def test_zeep_reads_lists_with_the_schema_enforced(cloud):
    address = cloud.addresses["salesforce_marketing_cloud"]["https"]
    http = Trusting(cloud)
    client = zeep.Client(address + "/etframework.wsdl", transport=zeep.Transport(session=http))
    granted = http.post(address + "/v2/token", json={"grant_type": "client_credentials", "client_id": "sim-client", "client_secret": "sim-secret"})
    header = zeep.xsd.Element(
        "{http://exacttarget.com}fueloauth", zeep.xsd.ComplexType([zeep.xsd.Element("_value_1", zeep.xsd.String())])
    )(granted.json()["access_token"])
    request, options = client.get_type("ns0:RetrieveRequest"), client.get_type("ns0:RetrieveOptions")
    names = ["ID", "ListName", "Description", "Client.ID", "CreatedDate", "ModifiedDate", "Type", "ListClassification"]
    found, more = [], None
    while True:
        asked = request(ObjectType="List", Properties=names, Options=options(BatchSize=25), ContinueRequest=more)
        answer = client.service.Retrieve(RetrieveRequest=asked, _soapheaders=[header])
        found.extend(answer.Results)
        if answer.OverallStatus == "OK":
            break
        more = answer.RequestID
    ledger = cloud.ledger("salesforce_marketing_cloud", "lists")
    assert {str(r.ID): (r.Description, r.Client.ID, r.CreatedDate) for r in found} == {
        i: (r["Description"], 7000001, central(r["CreatedDate"])) for i, r in ledger.items()
    }
    cloud.delete("/salesforce_marketing_cloud/tokens")
    with pytest.raises(zeep.exceptions.Fault, match="Token Expired"):
        client.service.Retrieve(RetrieveRequest=asked, _soapheaders=[header])


def test_journeys_over_rest(cloud):
    address = cloud.addresses["salesforce_marketing_cloud"]["http"] + "/interaction/v1/interactions"
    headers = {"Authorization": "Bearer sim-token"}
    page = requests.get(address, params={"$pageSize": 5, "extras": "stats"}, headers=headers).json()
    assert (page["count"], page["pageSize"], len(page["items"])) == (7, 5, 5)
    goals = {}
    for id in cloud.ledger("salesforce_marketing_cloud", "interactions"):
        journey = requests.get(f"{address}/{id}", headers=headers).json()
        goals |= {f"{id}:{goal['key']}": goal for goal in journey["goals"]}
    assert goals == cloud.ledger("salesforce_marketing_cloud", "goals")
