"""The server that plays Stripe: started once, steered over its control port."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "cloudsync-bench-server"
STOP_AFTER_SECONDS = 4 * 3600
# Rendering a million records takes seconds.
CALL_SECONDS = 120


def program() -> str:
    for candidate in (os.environ.get("BENCH_SERVER"), ROOT / "target/layers/release" / PROGRAM):
        if candidate and Path(candidate).exists():
            return str(candidate)
    raise RuntimeError("the server of the benchmarks is not built; run make bench")


class BenchServer:
    """The process and its control API."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [program(), "--stop-after-seconds", str(STOP_AFTER_SECONDS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the server of the benchmarks did not start")
        addresses = json.loads(line)
        self.url: str = addresses["api"]
        self.control: str = addresses["control"]
        self.sizes: dict[str, int] = {"customers": 0, "charges": 0}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def hold(self, **sizes: int) -> None:
        """Has so many records of each collection, all unchanged; what is not named is emptied."""
        wanted = {"customers": 0, "charges": 0} | sizes
        self.call("POST", "/sizes", wanted)
        self.sizes = wanted

    @contextmanager
    def settings(self, latency_ms: int = 0, requests_per_second: int = 0, hang: bool = False) -> Iterator[None]:
        given = {"latency_ms": latency_ms, "requests_per_second": requests_per_second, "hang": hang}
        self.call("POST", "/settings", given)
        try:
            yield
        finally:
            self.call("POST", "/settings", {"latency_ms": 0, "requests_per_second": 0, "hang": False})

    def touch(self, collection: str, count: int, seed: int) -> list[str]:
        """Changes records drawn at random; /v1/events then tells of these only. Returns their ids."""
        body = {"collection": collection, "count": count, "seed": seed, "forget_events": True}
        return self.call("POST", "/touch", body)["ids"]

    def reset_counters(self) -> None:
        self.call("DELETE", "/counters")

    def counters(self) -> dict[str, Any]:
        return self.call("GET", "/counters")

    def wait_held(self, count: int) -> None:
        state = self.call("GET", f"/counters?held={count}")
        assert state["held"] >= count, f"no request came: {state}"

    def wait_released(self) -> None:
        state = self.call("GET", "/counters?released=0")
        assert state["held"] == 0, f"a request is still held: {state}"

    def drain(self, collection: str) -> dict[str, Any]:
        """Reads all pages of a collection one after another and throws them away."""
        url = f"{self.url}/v1/{collection}"
        done = subprocess.run([program(), "drain", url], check=False, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"draining {url} failed: {done.stderr}")
        return json.loads(done.stdout)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
