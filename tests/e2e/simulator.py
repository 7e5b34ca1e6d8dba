"""The simulated apps: started once, reset before each test, steered over the control port."""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def simulator_program():
    for candidate in (os.environ.get("SIMULATOR"), ROOT / "target/layers/debug/cloudsync-simulator"):
        if candidate and Path(candidate).exists():
            return str(candidate)
    raise RuntimeError("the simulator is not built; run make test-e2e")


class Gate:
    """Holds matching requests until it is released."""

    def __init__(self, simulator, app, number):
        self.simulator = simulator
        self.app = app
        self.number = number

    def look(self, wait_for=0, gone=0):
        query = urllib.parse.urlencode({"wait_for": wait_for, "gone": gone})
        return self.simulator.get(f"/gates/{self.number}?{query}")

    def wait(self, count=1):
        """Returns once `count` requests are held here."""
        state = self.look(wait_for=count)
        assert state["waiting"] >= count, f"no request came to the gate: {state}"

    def wait_gone(self, count=1):
        """Returns once `count` held requests were given up by their client."""
        state = self.look(gone=count)
        assert state["gone"] >= count, f"the client still holds its request: {state}"

    def release(self):
        self.simulator.post(f"/gates/{self.number}/release")


class Simulator:
    """The process and its control API."""

    def __init__(self, directory):
        self.log = open(Path(directory) / "simulator.log", "ab")
        self.ca = Path(directory) / "ca.pem"
        self.process = subprocess.Popen(
            [simulator_program(), "--ca-file", str(self.ca)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator did not start; see {self.log.name}")
        self.addresses = json.loads(line)
        self.control = self.addresses["control"]
        if not self.control.startswith("http"):
            self.control = f"http://{self.control}"

    def url(self, app, scheme="http"):
        address = self.addresses[app][scheme]
        return address if "://" in address else f"{scheme}://{address}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body, default=str).encode()
        request = urllib.request.Request(
            self.control + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                text = reply.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        # Decimals, so that no digit is lost in the comparison itself.
        return json.loads(text, parse_float=Decimal) if text.strip() else None

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def patch(self, path, body):
        return self.call("PATCH", path, body)

    def delete(self, path):
        return self.call("DELETE", path)

    def reset(self):
        self.post("/reset")

    def seed(self, app, **counts):
        return self.post(f"/{app}/seed", counts)

    def config(self, app, **settings):
        return self.post(f"/{app}/config", settings)

    def clock(self, offset_seconds):
        return self.post("/clock", {"offset_seconds": offset_seconds})

    def create(self, app, collection, record):
        return self.post(f"/{app}/{collection}", record)

    def change(self, app, collection, key, fields):
        return self.patch(f"/{app}/{collection}/{key}", fields)

    def remove(self, app, collection, key, hard=False):
        return self.delete(f"/{app}/{collection}/{key}" + ("?hard=true" if hard else ""))

    def undelete(self, app, collection, key):
        return self.post(f"/{app}/{collection}/{key}/undelete")

    def ledger(self, app, collection):
        """The truth: a list of {id, version, deleted, record}."""
        return self.get(f"/{app}/{collection}/ledger")

    def ids(self, app, collection, deleted=False):
        return [entry["id"] for entry in self.ledger(app, collection) if entry["deleted"] == deleted]

    def requests(self, app, **matching):
        """The requests so far, those only that hold each text given: requests('salesforce', soql='FROM Account')."""
        found = self.get(f"/{app}/requests")
        for member, text in matching.items():
            found = [request for request in found if text in str(request.get(member) or "")]
        return found

    def clear_requests(self, app):
        self.delete(f"/{app}/requests")

    def fault(self, app, kind, match=None, times=1, **more):
        return self.post(f"/{app}/faults", {"match": match or {}, "kind": kind, "times": times, **more})

    def clear_faults(self, app):
        self.delete(f"/{app}/faults")

    @contextmanager
    def gate(self, app, **match):
        """Requests that match wait inside the block until release(); all go on after it."""
        gate = Gate(self, app, self.post(f"/{app}/gates", {"match": match})["id"])
        try:
            yield gate
        finally:
            # Forgotten, not only opened: an open gate would still take the requests of the next one.
            self.delete(f"/{app}/gates")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.log.close()
