"""Where everything is measured: one private PostgreSQL, one server that plays Stripe, and how the two are connected."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from apps import options as sql_options  # noqa: E402
from bench_server import BenchServer  # noqa: E402
from cluster import Cluster  # noqa: E402
from session import Session  # noqa: E402

DATABASE = "bench"

# Durable as by default. What would disturb a measured step at times that nobody chose is off or far away.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "cloudsync.allow_private_addresses": "on",
}


@dataclass(frozen=True)
class Sizes:
    """How many records the bars are measured with."""

    small: int
    medium: int
    large: int
    cancels: int
    rounds: int


FULL = Sizes(small=10_000, medium=100_000, large=1_000_000, cancels=1_000, rounds=3)
QUICK = Sizes(small=1_000, medium=10_000, large=30_000, cancels=50, rounds=1)


def quoted(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Lab:
    """The cluster, the app's server, and sessions."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.app = BenchServer()
        self.cluster = Cluster(SETTINGS)
        self.accounts = 0
        try:
            self.cluster.create().start()
            with self.cluster.connect("template1") as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            with self.session() as session:
                session.run("CREATE EXTENSION cloudsync")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.cluster.remove()
        self.app.stop()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A backend of its own, with the extension's library in it."""
        session = Session(self.cluster.connect(DATABASE))
        try:
            session.run("LOAD 'cloudsync'")
            yield session
        finally:
            session.close()

    def settle(self, session: Session) -> None:
        """Before each timed step: nothing of what came before is left to be written."""
        session.run("CHECKPOINT")
        os.sync()

    @contextmanager
    def account(
        self, session: Session, collections: Sequence[str], columns: Sequence[str] | None = None, **options: str | None
    ) -> Iterator[str]:
        """A server `stripe` of a new name, connected the standard way; everything of it is dropped in the end.

        `columns` keeps only these of each foreign table: that is how properties are selected. There is no pacing
        unless `options` say so; an option of None is left at its default.
        """
        self.accounts += 1
        name = f"stripe_{self.accounts}"
        wanted = {"source": "stripe", "base_url": self.app.url, "requests_per_second": "0", **options}
        given = {option: value for option, value in wanted.items() if value is not None}
        chosen = ", ".join(map(quoted, collections))
        session.run(
            f"CREATE SERVER {name} FOREIGN DATA WRAPPER cloudsync {sql_options(given)}",
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER {name} OPTIONS (api_key 'sk_live_bench')",
            f"CREATE SCHEMA {name}_live",
            f"IMPORT FOREIGN SCHEMA stripe LIMIT TO ({chosen}) FROM SERVER {name} INTO {name}_live",
        )
        for collection in collections if columns else ():
            self._keep_columns(session, f"{name}_live", collection, columns or ())
        try:
            yield name
        finally:
            self._drop(name)

    def _keep_columns(self, session: Session, schema: str, table: str, columns: Sequence[str]) -> None:
        there = columns_of(session, schema, table)
        assert set(columns) <= set(there), f"{table} lacks {set(columns) - set(there)}"
        drops = ", ".join(f"DROP COLUMN {quoted(column)}" for column in there if column not in columns)
        session.run(f"ALTER FOREIGN TABLE {quoted(schema, table)} {drops}")

    def _drop(self, name: str) -> None:
        # In a session of its own: the one that measured may have been cancelled or be in an error.
        with self.session() as session:
            session.run("SET client_min_messages = error")
            session.rows("SELECT cloudsync_disconnect(%s, true)", name)
            session.run(f"DROP SCHEMA IF EXISTS {name}, {name}_live CASCADE")

    def file(self, name: str) -> Path:
        """A file that the server may write and read."""
        return self.cluster.dir / name


def sync(session: Session, account: str, *collections: str) -> None:
    session.rows("CALL cloudsync_sync(%s, %s::text[])", account, list(collections) or None)


def columns_of(session: Session, schema: str, table: str) -> list[str]:
    return session.column(
        "SELECT attname FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass "
        "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        schema,
        table,
    )


def count_rows(session: Session, relation: str) -> int:
    return session.value(f"SELECT count(*) FROM {relation}")


def log(text: str) -> None:
    """Progress, on standard error: the table alone is the output."""
    print(text, file=sys.stderr, flush=True)
