"""Where the simulator is: CLOUDSYNC_SIMULATOR holds the JSON line it printed when it started. Nothing is started here."""

import json
import os

import pytest
import requests


class Control:
    """The simulator's control API."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.base = addresses["control"]
        self.http = requests.Session()

    def call(self, method, path, body=None, **params):
        answer = self.http.request(method, self.base + path, json=body, params=params)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def get(self, path, **params):
        return self.call("GET", path, **params)

    def post(self, path, body=None, **params):
        return self.call("POST", path, body or {}, **params)

    def patch(self, path, body, **params):
        return self.call("PATCH", path, body, **params)

    def delete(self, path, **params):
        return self.call("DELETE", path, **params)

    def trusting(self):
        """A session that trusts the simulator's authority, whatever REQUESTS_CA_BUNDLE says, for the https addresses."""
        authority = self.addresses["ca"]

        class Trusting(requests.Session):
            def request(self, *args, **kwargs):
                kwargs["verify"] = authority
                return super().request(*args, **kwargs)

        return Trusting()

    def ledger(self, app, collection, **params):
        """Records by id that are not deleted, unless `deleted=True`."""
        with_deleted = params.pop("deleted", False)
        rows = self.get(f"/{app}/{collection}/ledger", **params)
        return {row["id"]: row["record"] for row in rows if with_deleted or not row["deleted"]}


@pytest.fixture(scope="session")
def addresses():
    line = os.environ.get("CLOUDSYNC_SIMULATOR")
    if not line:
        pytest.skip("CLOUDSYNC_SIMULATOR is not set")
    return json.loads(line)


@pytest.fixture
def control(addresses):
    control = Control(addresses)
    control.post("/reset")
    return control
