"""A connection as the tests use it: rows with names, notices kept, errors by SQLSTATE, statements in the background."""

import threading
import time
from collections import namedtuple
from contextlib import contextmanager

import psycopg

WAIT_SECONDS = 30


def poll(condition, what, seconds=WAIT_SECONDS):
    """Asks until the condition holds and returns its value. For states that nothing tells us of."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(0.02)


Notice = namedtuple("Notice", "severity_nonlocalized sqlstate message_primary message_detail message_hint")


class Failure:
    """What `Session.fails` saw."""

    def __init__(self):
        self.sqlstate = self.message = self.detail = self.hint = self.seconds = None
        self.text = ""

    def fill(self, error):
        diag = error.diag
        self.sqlstate, self.message = error.sqlstate, diag.message_primary or str(error)
        self.detail, self.hint = diag.message_detail or "", diag.message_hint or ""
        self.text = "\n".join(filter(None, [self.message, self.detail, self.hint, diag.context]))


class Background:
    """A statement that runs while the test goes on."""

    def __init__(self, session, statement, parameters):
        self.result = self.error = None
        self.session = session
        self.started = time.monotonic()
        self.ended = None
        self.thread = threading.Thread(target=self._run, args=(statement, parameters), daemon=True)
        self.thread.start()

    def _run(self, statement, parameters):
        try:
            self.result = self.session.rows(statement, *parameters)
        except psycopg.Error as error:
            self.error = error
        finally:
            self.ended = time.monotonic()

    @property
    def is_running(self):
        return self.thread.is_alive()

    def finish(self, seconds=WAIT_SECONDS):
        """Waits for the end; an error of the statement is kept in `error`."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"the statement did not end within {seconds} s"
        return self

    def rows(self, seconds=WAIT_SECONDS):
        self.finish(seconds)
        if self.error:
            raise self.error
        return self.result


class Session:
    """One connection."""

    def __init__(self, connection):
        self.connection = connection
        self.notices = []
        # What psycopg gives dies with the result it came in.
        connection.add_notice_handler(
            lambda diag: self.notices.append(Notice(*(getattr(diag, name) for name in Notice._fields)))
        )
        self.pid = connection.info.backend_pid

    def rows(self, statement, *parameters):
        cursor = self.connection.execute(statement, parameters or None)
        if cursor.description is None:
            return []
        row = namedtuple("Row", [c.name for c in cursor.description], rename=True)
        return [row(*values) for values in cursor.fetchall()]

    def row(self, statement, *parameters):
        rows = self.rows(statement, *parameters)
        assert len(rows) == 1, f"{len(rows)} rows: {statement}"
        return rows[0]

    def value(self, statement, *parameters):
        return self.row(statement, *parameters)[0]

    def column(self, statement, *parameters):
        return [row[0] for row in self.rows(statement, *parameters)]

    def run(self, *statements):
        for statement in statements:
            self.connection.execute(statement)

    def background(self, statement, *parameters):
        return Background(self, statement, parameters)

    def explain(self, statement, *options):
        """The plan as one text. EXPLAIN (VERBOSE, ...) without ANALYZE unless asked."""
        wanted = ", ".join(("VERBOSE", "COSTS OFF", "TIMING OFF" if "ANALYZE" in options else "SUMMARY OFF", *options))
        return "\n".join(self.column(f"EXPLAIN ({wanted}) {statement}"))

    @contextmanager
    def fails(self, *sqlstates):
        """The block has to raise one of these SQLSTATEs; gives what the error said."""
        failure = Failure()
        started = time.monotonic()
        try:
            yield failure
        except psycopg.Error as error:
            failure.fill(error)
            failure.seconds = time.monotonic() - started
            assert failure.sqlstate in sqlstates, f"{failure.sqlstate} instead of {sqlstates}: {failure.text}"
        else:
            raise AssertionError(f"nothing failed; {sqlstates} was expected")

    def warnings(self):
        return [n for n in self.notices if n.severity_nonlocalized == "WARNING"]

    def refresh(self, server, collection=None):
        """The rows of cloudsync_refresh, in the order of their collections."""
        rows = self.rows("SELECT * FROM cloudsync_refresh(%s::text, %s::text)", server, collection)
        return sorted(rows, key=lambda row: row.collection)

    def refresh_one(self, server, collection):
        """Refreshes one collection, which has to go well."""
        (outcome,) = self.refresh(server, collection)
        assert outcome.status == "ok", f"{outcome}"
        assert_counts_add_up(outcome)
        return outcome

    def close(self):
        self.connection.close()


def assert_counts_add_up(outcome):
    """Nothing vanishes quietly: every record fetched went somewhere."""
    went = outcome.inserted + outcome.updated + outcome.unchanged + outcome.stale + outcome.rejected
    assert outcome.fetched == went, f"{outcome.fetched} fetched, {went} accounted for: {outcome}"


def row_versions(session, relation):
    """Changes whenever a row version is written."""
    return session.value(f"SELECT md5(string_agg(t.ctid::text || t.xmin::text, ',' ORDER BY t.ctid)) FROM {relation} t")
