"""Fixtures: one server and one simulator for the whole run, a database of its own for every test.

A test says which promises of RELIABILITY.md it proves: `@pytest.mark.proves("D1", "K01")`.
"""

import shutil
import signal
import sys
import time
import uuid
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from apps import Apps  # noqa: E402
from cluster import Cluster  # noqa: E402
from session import Session, poll  # noqa: E402
from simulator import ROOT, Simulator  # noqa: E402

LOGS = ROOT / "target/test-logs"
CRON_DATABASE = "cron_test"


def settings(cluster):
    """fsync stays on. pg_cron connects through the socket, as it does in a default Debian installation."""
    return {
        "shared_preload_libraries": "pg_cron",
        "cron.database_name": CRON_DATABASE,
        "cron.host": str(cluster.sockets),
        "cloudsync.allow_private_addresses": "on",
        "max_connections": "60",
        "max_worker_processes": "16",
        "log_min_messages": "info",
        "log_line_prefix": "%m [%p] %q%a %d ",
    }


def keep_log(source, name):
    LOGS.mkdir(parents=True, exist_ok=True)
    if Path(source).exists():
        shutil.copyfile(source, LOGS / name)


@pytest.fixture(scope="session")
def cluster():
    server = Cluster()
    server.settings = settings(server)
    try:
        server.create().start()
        with server.connect("template1") as connection:
            connection.execute(f"CREATE DATABASE {CRON_DATABASE}")
        yield server
    finally:
        keep_log(server.log, "server.log")
        server.remove()


@pytest.fixture(scope="session")
def simulator_process():
    LOGS.mkdir(parents=True, exist_ok=True)
    process = Simulator(LOGS)
    yield process
    process.stop()


@pytest.fixture
def sim(simulator_process):
    """The simulator, empty and without faults."""
    simulator_process.reset()
    return simulator_process


class Database:
    """A database with the extension in it, and the sessions a test opens there."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name
        self.sessions = []

    def session(self, user="postgres", **more):
        session = Session(self.cluster.connect(self.name, user, **more))
        self.sessions.append(session)
        return session

    def close(self):
        for session in self.sessions:
            session.close()

    def wait_idle(self, pid):
        """Waits until the backend has nothing to do any more."""
        with self.cluster.connect(self.name) as connection:
            poll(
                lambda: connection.execute(
                    "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s AND state = 'active'", [pid]
                ).fetchone()[0],
                f"backend {pid} idle",
            )


@pytest.fixture(scope="session")
def template(cluster):
    """A database with the extension, to copy."""
    name = "cloudsync_template"
    with cluster.connect("template1") as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with cluster.connect(name) as connection:
        connection.execute("CREATE EXTENSION cloudsync")
    return name


@pytest.fixture
def db(cluster, template):
    name = f"t_{uuid.uuid4().hex[:12]}"
    with cluster.connect("template1") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    database = Database(cluster, name)
    yield database
    database.close()
    if cluster.process is not None:
        with cluster.connect("template1") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def pg(db):
    """A superuser's session in the test's own database."""
    return db.session()


@pytest.fixture
def apps(sim):
    """Servers that point at the simulator."""
    return Apps(sim)


@pytest.fixture
def own_cluster():
    """A server that one test may kill; `own_cluster(**settings)` starts it."""
    made = []

    def start(**more):
        server = Cluster()
        server.settings = settings(server) | {name.replace("__", "."): value for name, value in more.items()}
        made.append(server)
        server.create().start()
        with server.connect("template1") as connection:
            connection.execute(f"CREATE DATABASE {CRON_DATABASE}")
            connection.execute("CREATE DATABASE test")
        with server.connect("test") as connection:
            connection.execute("CREATE EXTENSION cloudsync")
        return server

    yield start
    for number, server in enumerate(made):
        keep_log(server.log, f"own-server-{number}.log")
        server.remove()


def pytest_configure(config):
    config.addinivalue_line("markers", "proves(*ids): promises of RELIABILITY.md that the test shows")
    config.addinivalue_line("markers", "slow: takes more than some seconds")


def pytest_sessionstart(session):
    # A run that is told to end still removes its servers.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended by SIGTERM"))


STARTED = time.monotonic()


def pytest_report_teststatus(report):
    """No dots: each test has a line of its own."""
    if report.passed:
        return ("passed" if report.when == "call" else ""), "", ""


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """A line of progress a test, with the time since the start."""
    if report.when == "call" or not report.passed:
        word = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[report.outcome]
        if report.failed and report.when != "call":
            word = "ERROR"
        name = report.nodeid.split("tests/e2e/")[-1].removeprefix("e2e/")
        print(f"[{time.monotonic() - STARTED:6.1f} s] {word:7} {name} ({report.duration:.1f} s)", flush=True)
