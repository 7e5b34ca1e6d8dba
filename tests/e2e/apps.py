"""What the tests know of the simulated apps: how to connect them, and how to compare a table with the truth."""

import datetime
import json
from decimal import Decimal

from psycopg import sql

CREDENTIALS = {
    "salesforce": {"client_id": "sim-client", "client_secret": "sim-secret", "refresh_token": "sim-refresh"},
    "stripe": {"api_key": "sk_test_sim"},
    "hubspot": {"access_token": "pat-na1-simulated"},
    "intercom": {"access_token": "sim-intercom-token"},
    "zendesk": {"email": "agent@sim.example", "api_token": "sim-token"},
}
# The server option that leads to the simulator.
ADDRESS = {"salesforce": "login_url", **dict.fromkeys(["stripe", "hubspot", "intercom", "zendesk"], "base_url")}
# The words that must never be seen outside the user mapping.
SECRETS = ["sim-secret", "sim-refresh", "sk_test_sim"]


def options(pairs):
    """`OPTIONS (a 'x', b 'y')`, or nothing."""
    if not pairs:
        return ""
    inner = ", ".join(f"{sql.Identifier(k).as_string(None)} {sql.Literal(str(v)).as_string(None)}" for k, v in pairs.items())
    return f"OPTIONS ({inner})"


class Apps:
    """Servers that point at the simulator."""

    def __init__(self, sim):
        self.sim = sim

    def server(self, session, source, name=None, credentials=None, user="CURRENT_USER", **more):
        """CREATE SERVER and CREATE USER MAPPING; returns the server's name. `more` are server options."""
        name = name or source
        given = {"source": source, ADDRESS[source]: self.sim.url(source), **more}
        secrets = CREDENTIALS[source] if credentials is None else credentials
        quoted = sql.Identifier(name).as_string(None)
        session.run(f"CREATE SERVER {quoted} FOREIGN DATA WRAPPER cloudsync {options(given)}")
        session.run(f"CREATE USER MAPPING FOR {user} SERVER {quoted} {options(secrets)}")
        return name

    def connect(self, session, source, collections, name=None, **more):
        """A server with live tables of some collections, made the standard way; returns the server's name."""
        name = self.server(session, source, name, **more)
        schema = sql.Identifier(f"{name}_live").as_string(None)
        chosen = ", ".join(sql.Identifier(collection).as_string(None) for collection in collections)
        server = sql.Identifier(name).as_string(None)
        session.run(
            f"CREATE SCHEMA {schema}",
            f"IMPORT FOREIGN SCHEMA {source} LIMIT TO ({chosen}) FROM SERVER {server} INTO {schema}",
        )
        return name

    def connect_in_one_call(self, session, source, collections, name=None, **more):
        """The same by cloudsync_connect, which makes the local tables too; returns its rows."""
        given = {ADDRESS[source]: self.sim.url(source), "collections": collections, **more}
        return session.rows(
            "SELECT * FROM cloudsync_connect(%s, %s, %s::jsonb, %s::jsonb)",
            name or source,
            source,
            json.dumps(CREDENTIALS[source]),
            json.dumps(given),
        )

    def data_requests(self, app, **matching):
        """The calls that cost quota for data: not those for a token, and not describe."""
        found = self.sim.requests(app, **matching)
        return [r for r in found if "/oauth2/" not in r["path"] and not r["path"].endswith("/describe")]

    def assert_like_ledger(self, session, app, collection, schema=None, ignore=(), may_miss_deleted=False):
        """The local table holds exactly the app's records: ids, deletions and every column of every live record.

        `may_miss_deleted`: a record that was deleted before we ever read it need not have left a trace.
        """
        schema = schema or app
        truth = {entry["id"]: entry for entry in self.sim.ledger(app, collection)}
        columns = columns_of(session, schema, collection)
        rows = session.rows(f"SELECT * FROM {sql.Identifier(schema, collection).as_string(None)}")
        if not hasattr(rows[0] if rows else None, "id"):
            # No id of its own (fees of a balance transaction): as many rows as records, and no two alike.
            assert len(rows) == len(truth), f"{len(rows)} rows for {len(truth)} records of {collection}"
            return {}
        stored = {row.id: row for row in rows}
        if may_miss_deleted:
            truth = {key: entry for key, entry in truth.items() if key in stored or not entry["deleted"]}
        assert len(stored) == len(rows), f"an id appears twice in {schema}.{collection}"
        assert sorted(stored) == sorted(truth), difference(stored, truth)
        wrong_marks = [i for i, e in truth.items() if stored[i].is_deleted != e["deleted"]]
        shown = [(i, stored[i].is_deleted, stored[i].record_version, stored[i].received_at) for i in wrong_marks[:5]]
        assert not wrong_marks, f"is_deleted is wrong in {shown} of {collection}"
        for key, entry in truth.items():
            if entry["deleted"]:
                continue
            for column in columns:
                if column["name"] in ignore:
                    continue
                if top_of(column) not in entry["record"]:
                    continue  # known from elsewhere: the invoice of a line that came inside it
                want = expected(entry["record"], column)
                got = getattr(stored[key], column["name"])
                assert same(got, want), f"{collection} {key}, column {column['name']}: {got!r} stored, {want!r} sent"
        return stored


def difference(stored, truth):
    missing = sorted(set(truth) - set(stored))[:5]
    extra = sorted(set(stored) - set(truth))[:5]
    return f"{len(stored)} rows for {len(truth)} records; missing {missing}, not the app's {extra}"


def columns_of(session, schema, collection):
    """The columns of the live table: name, type and where the value is in the record."""
    rows = session.rows(
        """
        SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
               (SELECT option_value FROM pg_options_to_table(a.attfdwoptions) WHERE option_name = 'field') AS field,
               (SELECT option_value FROM pg_options_to_table(a.attfdwoptions) WHERE option_name = 'format') AS format
        FROM pg_attribute a
        WHERE a.attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        f"{schema}_live",
        collection,
    )
    return [row._asdict() for row in rows if row.name not in ("is_deleted", "extra", "received_at")]


def path_of(column):
    field = column["field"] or column["name"]
    return field[1:].split("/") if field.startswith("/") else [field]


def top_of(column):
    return path_of(column)[0]


def expected(record, column):
    """The value of a column as PostgreSQL should give it, from the record as the app sent it."""
    value = record
    for key in path_of(column):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return None
    kind = column["type"]
    if kind == "text":
        return value if isinstance(value, str) else json.dumps(value, default=str)
    if kind == "jsonb":
        return value
    if kind.startswith("timestamp"):
        return instant(value)
    if kind == "date":
        return datetime.date.fromisoformat(value)
    if kind == "numeric":
        return Decimal(str(value))
    return value


def instant(value):
    if isinstance(value, (int, Decimal)):
        return datetime.datetime.fromtimestamp(float(value), datetime.timezone.utc)
    return datetime.datetime.fromisoformat(value.replace("Z", "+00:00").replace("+0000", "+00:00"))


def same(got, want):
    if isinstance(want, (dict, list)) or isinstance(got, (dict, list)):
        return json.dumps(got, sort_keys=True, default=float) == json.dumps(want, sort_keys=True, default=float)
    if isinstance(got, float) and want is not None:
        return got == float(want)
    return got == want
