"""Schedules run by pg_cron, in the one database that pg_cron lives in."""

import pytest

from conftest import CRON_DATABASE, Database
from session import poll


@pytest.fixture
def cron(cluster, sim):
    """A session in pg_cron's database, without jobs, servers or synced tables of earlier tests."""
    database = Database(cluster, CRON_DATABASE)
    session = database.session()
    clean(session)
    session.run("CREATE EXTENSION cloudsync")
    yield session
    clean(session)
    database.close()


def clean(session):
    session.run("CREATE EXTENSION IF NOT EXISTS pg_cron")
    session.rows("SELECT cron.unschedule(jobid) FROM cron.job")
    session.run("DELETE FROM cron.job_run_details", "DROP EXTENSION IF EXISTS cloudsync CASCADE")
    for schema in session.column(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'cron', 'information_schema')"
    ):
        session.run(f'DROP SCHEMA "{schema}" CASCADE')


@pytest.mark.slow
@pytest.mark.proves("K04")
def test_pg_cron_runs_a_schedule_and_its_history_shows_success_and_failure(cron, sim, apps):
    sim.seed("stripe", customers=20)
    sim.seed("salesforce", accounts=10)
    apps.connect(cron, "stripe", ["customers"])
    apps.connect(cron, "salesforce", ["accounts"])
    cron.rows("SELECT cloudsync_set_credential('salesforce', 'refresh_token', 'revoked')")
    good = cron.value("SELECT cloudsync_schedule('stripe', '* * * * *')")
    bad = cron.value("SELECT cloudsync_schedule('salesforce', '* * * * *')")
    # Debian's pg_cron knows minutes only: the next one is at most 60 s away.
    done = "SELECT status, return_message FROM cron.job_run_details WHERE jobid = %s AND status IN ('succeeded', 'failed') ORDER BY runid LIMIT 1"
    first = poll(lambda: cron.rows(done, good), "the good job ran", 90)[0]
    second = poll(lambda: cron.rows(done, bad), "the bad job ran", 90)[0]
    assert first.status == "succeeded", first
    assert second.status == "failed" and "credentials" in second.return_message, second
    apps.assert_like_ledger(cron, "stripe", "customers")
    assert cron.rows("SELECT 1 FROM cloudsync.runs WHERE server = 'salesforce' AND sqlstate = '28000'")


def test_a_schedule_is_one_plain_call_of_the_procedure(cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    job = cron.value("SELECT cloudsync_schedule('stripe', '0 */3 * * *')")
    row = cron.row("SELECT schedule, command, database, username FROM cron.job WHERE jobid = %s", job)
    assert row.schedule == "0 */3 * * *"
    assert row.command.strip().upper().startswith("CALL ") and "cloudsync_sync" in row.command
    assert row.command.count(";") <= 1
    assert (row.database, row.username) == (CRON_DATABASE, "postgres")


def test_scheduling_again_replaces_the_schedule(cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    cron.value("SELECT cloudsync_schedule('stripe', '0 */3 * * *')")
    cron.value("SELECT cloudsync_schedule('stripe', '30 4 * * *')")
    assert cron.column("SELECT schedule FROM cron.job") == ["30 4 * * *"]


def test_unscheduling_removes_the_job_and_may_be_repeated(cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    cron.value("SELECT cloudsync_schedule('stripe', '0 */3 * * *')")
    cron.rows("SELECT cloudsync_unschedule('stripe')")
    assert cron.column("SELECT jobid FROM cron.job") == []
    cron.rows("SELECT cloudsync_unschedule('stripe')")


def test_a_disconnect_removes_the_schedule(cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    cron.value("SELECT cloudsync_schedule('stripe', '0 */3 * * *')")
    cron.rows("SELECT cloudsync_disconnect('stripe')")
    assert cron.column("SELECT jobid FROM cron.job") == []


def test_status_shows_the_schedule(cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    cron.value("SELECT cloudsync_schedule('stripe', '15 */3 * * *')")
    row = cron.row("SELECT to_jsonb(s) FROM cloudsync.status s WHERE server = 'stripe'")[0]
    shown = [str(value) for name, value in row.items() if "next" in name or "schedule" in name]
    assert any(value not in ("None", "") for value in shown), row


@pytest.mark.parametrize("schedule", ["every now and then", "61 * * * *", ""])
def test_a_schedule_pg_cron_cannot_read_is_refused(schedule, cron, apps):
    apps.connect(cron, "stripe", ["customers"])
    with pytest.raises(Exception) as raised:
        cron.value("SELECT cloudsync_schedule('stripe', %s)", schedule)
    assert raised.value.sqlstate and raised.value.sqlstate != "XX000"
    assert cron.column("SELECT jobid FROM cron.job") == []


def test_without_pg_cron_the_error_says_what_to_do(pg, apps):
    apps.connect(pg, "stripe", ["customers"])
    with pg.fails("0A000", "55000", "42704", "3F000", "58P01") as failure:
        pg.value("SELECT cloudsync_schedule('stripe', '0 * * * *')")
    assert "pg_cron" in failure.text and failure.hint
