"""Zenpy, the Python client for Zendesk, reads everything the simulator has."""

from urllib.parse import urlsplit

import pytest
import requests
import zenpy
from zenpy.lib.exception import APIException, ZenpyException

START = 1_500_000_000


@pytest.fixture
def desk(control):
    control.post("/zendesk/config", {"export_per_minute": 0})
    control.post("/zendesk/ticket_fields", {"title": "Product"})
    control.post(
        "/zendesk/seed",
        {"groups": 12, "organizations": 25, "users": 240, "group_memberships": 15, "organization_memberships": 130,
         "tickets": 230, "ticket_comments": 60, "attachments": 10, "satisfaction_ratings": 20, "ticket_skips": 9,
         "audit_logs": 8, "ticket_forms": 3, "ties": 40, "deleted_percent": 5},
    )
    return control


def client_of(control, monkeypatch, scheme="https", **credentials):
    """The client as it comes; variables of its own lead it here instead of to the subdomain's host."""
    monkeypatch.setenv("ZENPY_FORCE_NETLOC", urlsplit(control.addresses["zendesk"][scheme]).netloc)
    monkeypatch.setenv("ZENPY_FORCE_SCHEME", scheme)
    credentials = credentials or {"email": "agent@sim.example", "token": "sim-token"}
    return zenpy.Zenpy(subdomain="sim", session=control.trusting(), disable_cache=True, **credentials)


def by_id(things):
    return {str(thing.id): thing for thing in things}


def same(things, ledger, members):
    """The records are those of the ledger, in these members."""
    assert set(things) == set(ledger)
    for key, thing in things.items():
        shown = thing.to_dict()
        assert {name: shown.get(name) for name in members} == {name: ledger[key][name] for name in members}, key


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("credentials", [{}, {"oauth_token": "sim-access"}])
def test_cursor_exports_are_the_ledger(desk, monkeypatch, scheme, credentials):
    client = client_of(desk, monkeypatch, scheme, **credentials)
    assert client.users.me().email == "agent@sim.example"
    tickets = list(client.tickets.incremental(start_time=START, per_page=50))
    found = by_id(tickets)
    assert len(tickets) > len(found), "the last second of a page comes again"
    members = ["subject", "status", "updated_at", "generated_timestamp", "custom_fields", "requester_id", "tags"]
    same(found, desk.ledger("zendesk", "tickets", deleted=True), members)
    users = by_id(client.users.incremental(start_time=START, per_page=100))
    same(users, desk.ledger("zendesk", "users", deleted=True), ["email", "active", "role", "updated_at", "organization_id"])
    assert any(not user.active for user in users.values())


def test_time_exports_are_the_ledger(desk, monkeypatch):
    client = client_of(desk, monkeypatch)
    organizations = by_id(client.organizations.incremental(start_time=START, per_page=10))
    same(organizations, desk.ledger("zendesk", "organizations", deleted=True), ["name", "deleted_at", "domain_names"])
    tickets = by_id(client.tickets.incremental(start_time=START, paginate_by_time=True, per_page=30))
    same(tickets, desk.ledger("zendesk", "tickets", deleted=True), ["subject", "status"])


def test_ticket_events_are_the_ledger(desk, monkeypatch):
    client = client_of(desk, monkeypatch)
    children, comments, attachments = set(), {}, set()
    for audit in client.tickets.events(start_time=START, include="comment_events"):
        for child in audit.to_dict()["child_events"]:
            children.add(str(child["id"]))
            if child["event_type"] == "Comment":
                comments[str(child["id"])] = child["body"]
                attachments |= {str(attachment["id"]) for attachment in child["attachments"]}
    ledger = desk.ledger("zendesk", "ticket_comments", deleted=True)
    assert comments == {key: comment["body"] for key, comment in ledger.items()}
    assert children == set(desk.ledger("zendesk", "ticket_events", deleted=True))
    assert attachments == set(desk.ledger("zendesk", "attachments", deleted=True)) and attachments


@pytest.mark.parametrize(
    "collection, service, members",
    [
        ("groups", "groups", ["name", "deleted", "updated_at"]),
        ("ticket_fields", "ticket_fields", ["type", "title", "removable"]),
        ("ticket_forms", "ticket_forms", ["name", "ticket_field_ids"]),
        ("ticket_metrics", "ticket_metrics", ["ticket_id", "replies", "updated_at"]),
        ("satisfaction_ratings", "satisfaction_ratings", ["score", "ticket_id"]),
        ("ticket_skips", "skips", ["ticket_id", "reason"]),
        ("group_memberships", "group_memberships", ["user_id", "group_id"]),
        ("organization_memberships", "organization_memberships", ["user_id", "organization_id"]),
        ("organizations", "organizations", ["name"]),
        ("users", "users", ["name", "email"]),
    ],
)
def test_lists_are_the_ledger(desk, monkeypatch, collection, service, members):
    things = by_id(getattr(client_of(desk, monkeypatch), service)())
    same(things, desk.ledger("zendesk", collection), members)
    assert things


def test_the_exports_limit_makes_the_client_wait(desk, monkeypatch):
    desk.post("/zendesk/config", {"export_per_minute": 2})
    client = client_of(desk, monkeypatch)
    client.ratelimit_budget = None
    exports = desk.addresses["zendesk"]["http"] + f"/api/v2/incremental/tickets/cursor?start_time={START}"
    login = ("agent@sim.example/token", "sim-token")
    statuses = [requests.get(exports, auth=login, timeout=10).status_code for _ in range(3)]
    refused = requests.get(exports, auth=login, timeout=10)
    assert statuses == [200, 200, 429] and 1 <= int(refused.headers["Retry-After"]) <= 60
    # The apps' clock ends the wait.
    desk.post("/clock", {"offset_seconds": 61})
    assert len(list(client.tickets.incremental(start_time=START))) >= 230


def test_errors_reach_the_client(desk, monkeypatch):
    with pytest.raises(APIException) as refused:
        client_of(desk, monkeypatch, email="agent@sim.example", token="other").users.me()
    assert refused.value.response.status_code == 401
    client = client_of(desk, monkeypatch)
    with pytest.raises((APIException, ZenpyException)) as early:
        list(client.tickets.incremental(start_time=4_000_000_000))
    assert early.value.response.status_code == 422
    desk.post("/zendesk/config", {"role": "agent"})
    with pytest.raises(APIException) as agent:
        list(client.tickets.incremental(start_time=START))
    assert agent.value.response.status_code == 403
