"""Intercom's own client, intercom-client for Node, reads what the simulator has."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
import requests

HERE = pathlib.Path(__file__).parent
# Where scripts/setup.sh installs the packages of node/package.json.
MODULES = os.environ.get("CLOUDSYNC_NODE_MODULES", str(HERE.parents[1] / "target" / "node" / "node_modules"))
TOKEN = "sim-intercom-token"


@pytest.fixture
def workspace(control):
    control.post(
        "/intercom/seed",
        {"admins": 3, "teams": 2, "tags": 4, "segments": 5, "companies": 130, "users": 40, "contacts": 23,
         "conversations": 18, "conversation_parts": 60, "deleted_percent": 10},
    )
    return control


@pytest.fixture
def run(control):
    """Runs the script and gives what it printed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not os.path.isdir(os.path.join(MODULES, "intercom-client")):
        pytest.skip(f"the package intercom-client is not in {MODULES}")

    def script(what):
        command = [node, str(HERE / "node" / "intercom.cjs"), control.addresses["intercom"]["http"], TOKEN, what]
        done = subprocess.run(command, env={**os.environ, "NODE_PATH": MODULES}, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return script


def by_id(records):
    found = {record["id"]: record for record in records}
    assert len(found) == len(records), "no record twice"
    return found


def test_the_official_client_reads_the_ledger(workspace, run):
    found = run("read")
    ledger = {name: workspace.ledger("intercom", name)
              for name in ["users", "contacts", "conversations", "companies", "admins", "teams", "tags", "segments"]}
    assert by_id(found["users"]) == ledger["users"]
    assert by_id(found["contacts"]) == ledger["contacts"]
    assert by_id(found["listed"]) == ledger["users"] | ledger["contacts"]
    stamps = [user["updated_at"] for user in found["users"]]
    assert stamps == sorted(stamps)
    assert by_id(found["conversations"]) == by_id(found["listed_conversations"]) == ledger["conversations"]
    assert by_id(found["companies"]) == ledger["companies"]
    with_users = {id: company for id, company in ledger["companies"].items() if company["user_count"]}
    assert 0 < len(with_users) < len(ledger["companies"])
    assert by_id(found["listed_companies"]) == with_users
    for name in ["admins", "teams", "tags", "segments"]:
        assert by_id(found[name]) == ledger[name], name
    assert {"custom_attributes.plan_tier", "email"} <= {attribute["full_name"] for attribute in found["attributes"]}
    assert found["me"]["app"]["region"] == "US"
    # Deleted people left the lists, deleted conversations too; a redacted part stays.
    assert len(workspace.ledger("intercom", "users", deleted=True)) > len(ledger["users"])


def test_parts_come_with_each_conversation(workspace, run):
    parts = {}
    for conversation in run("read")["whole"]:
        for part in conversation["conversation_parts"]["conversation_parts"]:
            parts[part["id"]] = part | {"conversation_id": conversation["id"]}
    live = workspace.ledger("intercom", "conversations")
    ledger = workspace.ledger("intercom", "conversation_parts", deleted=True)
    assert parts == {id: part for id, part in ledger.items() if part["conversation_id"] in live}
    assert any(part["redacted"] and part["body"] is None for part in parts.values())


def test_errors_are_the_apps_own(workspace, run):
    assert run("errors") == {
        "token": {"status": 401, "code": "unauthorized"},
        "version": {"status": 400, "code": "intercom_version_invalid"},
        "missing": {"status": 404, "code": "not_found"},
        "operator": {"status": 400, "code": "parameter_invalid"},
        "scroll": {"status": 400, "code": "scroll_exists"},
        "page": {"status": 400, "code": "parameter_invalid"},
        "first": 100,
    }


def test_the_official_client_waits_for_the_window(workspace, run):
    workspace.post("/intercom/config", {"calls_per_ten_seconds": 2})
    waited = run("patient")["waited_ms"]
    log = workspace.get("/intercom/requests", path_prefix="/tags")
    statuses = [entry["status"] for entry in log]
    # The three calls may fall into two windows of themselves; otherwise one waits.
    assert statuses.count(200) == 3
    assert (429 in statuses) == (waited > 100), (statuses, waited)


def test_faults_meet_the_members_of_this_app(workspace):
    address = workspace.addresses["intercom"]["http"]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    ask = {"query": {"field": "role", "operator": "=", "value": "user"}, "pagination": {"per_page": 10}}

    def search(**more):
        body = json.loads(json.dumps(ask))
        body["pagination"].update(more)
        return requests.post(address + "/contacts/search", json=body, headers=headers, timeout=10)

    first = search().json()
    workspace.post("/intercom/faults", {"kind": "empty_page", "match": {"path_prefix": "/contacts/search"}})
    emptied = search().json()
    assert emptied["data"] == [] and search(starting_after=emptied["pages"]["next"]["starting_after"]).json()["data"] == first["data"]
    workspace.post("/intercom/faults", {"kind": "same_page", "match": {"path_prefix": "/contacts/search"}})
    search()
    assert search(starting_after=first["pages"]["next"]["starting_after"]).json()["data"] == first["data"], "the page before"
    workspace.post("/intercom/faults", {"kind": "raw_field", "match": {"path_prefix": "/conversations"}, "field": "updated_at", "raw": "\"soon\""})
    assert requests.get(address + "/conversations", headers=headers, timeout=10).json()["conversations"][0]["updated_at"] == "soon"
    workspace.post("/intercom/faults", {"kind": "status", "status": 500, "match": {"path_prefix": "/companies/scroll"}})
    broken = requests.get(address + "/companies/scroll", headers=headers, timeout=10)
    assert (broken.status_code, broken.json()["errors"][0]["code"]) == (500, "server_error")
