"""The twilio package reads everything the simulated Twilio has, over TLS, unchanged but for the address of its API domain."""

import datetime as dt
import decimal
import json

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

ACCOUNT = "AC0123456789abcdef0123456789abcdef"
LISTS = ["addresses", "calls", "conferences", "transcriptions", "messages"]


@pytest.fixture
def account(control, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", control.addresses["ca"])
    control.post("/twilio/seed", {"addresses": 7, "calls": 130, "conferences": 12, "transcriptions": 9, "messages": 120,
                                  "call_feedback": 5})
    return control


def connect(control, user=ACCOUNT, password="sim-auth-token"):
    client = Client(user, password, account_sid=ACCOUNT)
    client.api.base_url = control.addresses["twilio"]["https"]
    return client


@pytest.fixture
def client(account):
    return connect(account)


def told(record, name):
    """A member as the JSON had it: the client makes dates and decimals of some, and `from` is a word of Python."""
    value = vars(record)[name] if name != "from" else getattr(record, "from_", None) or vars(record)["_from"]
    if isinstance(value, dt.datetime):
        return value.strftime("%a, %d %b %Y %H:%M:%S +0000")
    return str(value) if isinstance(value, decimal.Decimal) else value


@pytest.mark.parametrize("collection", LISTS)
def test_lists_hold_the_ledger(client, account, collection):
    records = {record.sid: record for record in getattr(client, collection).list(page_size=50)}
    ledger = account.ledger("twilio", collection)
    assert set(records) == set(ledger)
    for sid, record in ledger.items():
        assert {name: told(records[sid], name) for name in record} == record


def test_pages_are_followed_to_the_end_whatever_their_size(client):
    everything = [call.sid for call in client.calls.list(page_size=1000)]
    assert [call.sid for call in client.calls.list(page_size=7)] == everything
    page = client.calls.page(page_size=50)
    second = page.next_page()
    assert [call.sid for call in second] == everything[50:100]
    assert [call.sid for call in second.previous_page()] == everything[:50]


def test_date_filters_are_in_the_parameter_names(client, account):
    day = dt.datetime(2025, 12, 30, tzinfo=dt.timezone.utc)
    calls = account.ledger("twilio", "calls")

    def started(call):
        return dt.datetime.strptime(call["start_time"], "%a, %d %b %Y %H:%M:%S %z")

    found = {call.sid for call in client.calls.list(start_time_after=day, page_size=20)}
    assert found == {sid for sid, call in calls.items() if started(call) >= day} != set(calls)
    found = {call.sid for call in client.calls.list(start_time_before=day)}
    assert found == {sid for sid, call in calls.items() if started(call) < day}
    assert any("StartTime>=" in entry["query"] for entry in account.get("/twilio/requests"))
    conference = next(iter(account.ledger("twilio", "conferences")))
    today = dt.datetime.now(dt.timezone.utc).date()
    account.patch(f"/twilio/conferences/{conference}", {"status": "completed"})
    assert [c.sid for c in client.conferences.list(date_updated_after=today)] == [conference]
    sent = client.messages.list(date_sent_after=day)
    assert sent and all(message.date_sent >= day for message in sent)


def test_errors_are_the_apps_own(client, account):
    def refusal(call):
        with pytest.raises(TwilioException) as raised:
            call()
        if isinstance(raised.value, TwilioRestException):
            return raised.value.status, raised.value.code
        # For a page of a list the client raises the reply itself.
        reply = raised.value.args[1]
        return reply.status_code, json.loads(reply.text)["code"]

    assert refusal(lambda: client.calls("CAnone").fetch()) == (404, 20404)
    assert refusal(lambda: connect(account, password="x").calls.list()) == (401, 20003)
    account.post("/twilio/config", {"denied": ["messages"]})
    assert refusal(client.messages.list) == (403, 20003)
    assert len(client.calls.list()) == 130
    account.post("/twilio/config", {"denied": [], "rate_per_second": 0.01})
    client.addresses.list()
    assert refusal(client.addresses.list) == (429, 20429)


def test_api_keys_and_sub_accounts(account):
    key = connect(account, "SK0123456789abcdef0123456789abcdef", "sim-key-secret")
    assert len(key.calls.list()) == 130
    made = account.post("/twilio/accounts", {"friendly_name": "Below"})
    account.post("/twilio/calls", {"account_sid": made["sid"]})
    client = connect(account)
    assert {a.sid for a in client.api.accounts.list()} == {ACCOUNT, made["sid"]}
    assert len(client.api.accounts(made["sid"]).calls.list()) == 1
    assert client.api.accounts(ACCOUNT).fetch().status == "active"
