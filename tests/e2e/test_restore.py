"""Dump, restore, copies of a database, drops: state stays whole, and no call is made by any of it."""

import uuid

import pytest

from session import Session


@pytest.fixture
def stripe(pg, sim, apps):
    sim.seed("stripe", customers=60)
    apps.connect(pg, "stripe", ["customers"])
    pg.refresh_one("stripe", "customers")
    sim.clear_requests("stripe")
    return pg


@pytest.fixture
def restored(cluster):
    """An empty database to restore into; gives its name."""
    name = f"r_{uuid.uuid4().hex[:12]}"
    with cluster.connect("template1") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield name
    with cluster.connect("template1") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def connection_options(cluster):
    return ["-h", cluster.sockets, "-p", 5432, "-U", "postgres"]


@pytest.mark.proves("L01", "P6")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_restored_database_goes_on_where_the_dump_was_made(jobs, stripe, db, restored, sim, apps):
    cluster = db.cluster
    archive = cluster.dir / f"{restored}.dir"
    cluster.command("pg_dump", *connection_options(cluster), "-Fd", "-f", archive, db.name)
    cluster.command("pg_restore", *connection_options(cluster), "-j", jobs, "--exit-on-error", "-d", restored, archive)
    assert sim.requests("stripe") == []
    session = Session(cluster.connect(restored))
    sim.change("stripe", "customers", sim.ids("stripe", "customers")[0], {"name": "After the dump"})
    outcome = session.refresh_one("stripe", "customers")
    assert (outcome.mode, outcome.updated) == ("incremental", 1), outcome
    apps.assert_like_ledger(session, "stripe", "customers")
    assert session.value("SELECT count(*) FROM cloudsync.runs") == 2
    session.close()


@pytest.mark.proves("L01")
def test_a_restored_schema_without_data_starts_with_a_full_refresh(stripe, db, restored, sim, apps):
    cluster = db.cluster
    archive = cluster.dir / f"{restored}.dump"
    cluster.command("pg_dump", *connection_options(cluster), "-Fc", "--schema-only", "-f", archive, db.name)
    cluster.command("pg_restore", *connection_options(cluster), "--exit-on-error", "-d", restored, archive)
    session = Session(cluster.connect(restored))
    assert session.refresh_one("stripe", "customers").mode == "full"
    apps.assert_like_ledger(session, "stripe", "customers")
    session.close()


@pytest.mark.proves("L03")
def test_a_copy_of_a_database_is_whole(stripe, db, cluster, restored, sim, apps):
    stripe.close()
    with cluster.connect("template1") as connection:
        connection.execute(f"DROP DATABASE {restored}")
        connection.execute(f"CREATE DATABASE {restored} TEMPLATE {db.name}")
    session = Session(cluster.connect(restored))
    assert session.refresh_one("stripe", "customers").mode == "incremental"
    session.close()


@pytest.mark.proves("L03")
def test_the_extension_can_be_dropped_and_made_again(stripe, sim, apps):
    stripe.run("DROP EXTENSION cloudsync CASCADE")
    assert stripe.value("SELECT count(*) FROM stripe.customers") == 60
    assert stripe.rows("SELECT 1 FROM pg_foreign_server") == []
    stripe.run("CREATE EXTENSION cloudsync", "DROP SCHEMA stripe_live")
    apps.server(stripe, "stripe")
    outcome = stripe.refresh_one("stripe", "customers")
    assert (outcome.mode, outcome.inserted) == ("full", 0), outcome
    apps.assert_like_ledger(stripe, "stripe", "customers")


@pytest.mark.proves("S4")
def test_the_extension_refuses_to_take_over_what_is_there(cluster, restored):
    session = Session(cluster.connect(restored))
    session.run("CREATE SCHEMA cloudsync")
    with session.fails("42P06"):
        session.run("CREATE EXTENSION cloudsync")
    session.close()


@pytest.mark.proves("S4")
def test_the_extension_is_not_for_everyone_to_install(pg):
    assert pg.row("SELECT superuser, trusted FROM pg_available_extension_versions WHERE name = 'cloudsync'") == (True, False)


@pytest.mark.proves("L03")
def test_a_dropped_server_takes_its_state_along_or_is_clean_when_made_again(stripe, sim, apps):
    stripe.run("DROP SERVER stripe CASCADE")
    apps.server(stripe, "stripe")
    outcome = stripe.refresh_one("stripe", "customers")
    assert outcome.inserted == 0
    apps.assert_like_ledger(stripe, "stripe", "customers")
