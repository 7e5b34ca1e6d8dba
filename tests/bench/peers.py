"""How many rows a second others load from the same app into the same PostgreSQL."""

import json
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from bars import Bar, Case, Limit, Rounds, median
from bench_server import ROOT
from lab import DATABASE, Lab, count_rows, log, quoted
from loads import Loads

REQUIREMENTS = Path(__file__).with_name("peer-requirements.txt")
VENV = ROOT / "target/bench/venv"
INSTALL_SECONDS = 300
ONE_ROUND_FROM_SECONDS = 60
# The fastest of six others, measured once elsewhere: the same API on loopback, two cores, PostgreSQL 15 with fsync on,
# 100,000 customers of 1.0 KB and 100,000 charges of 2.7 KB, one page after another.
FOREIGN = ("supabase/wrappers, measured elsewhere", 2_970)
COLLECTIONS = ("customers", "charges")


def peer(loads: Loads) -> Bar:
    lab, limit = loads.lab, Limit(3, 5, "at least")
    records = lab.sizes.medium
    bar = Bar("peer", f"first load of {records:,} customers and charges each, rows per second against others")
    ours = [loads.rounds(collection, records) for collection in COLLECTIONS]
    our_speed = 2 * records / sum(median(rounds, "sync_s") for rounds in ours)
    bar.cases.append(Case("cloudsync", our_speed, "rows/s"))
    missing = install()
    if missing:
        bar.skipped, bar.reason = "not available", missing
        log(f"  dlt is not available: {missing}")
    else:
        for size, judged_by in ((lab.sizes.small, None), (records, limit)):
            bar.cases += dlt_cases(loads, size, judged_by)
    name, speed = FOREIGN
    bar.cases.append(Case(f"against {name} ({speed:,} rows/s)", our_speed / speed, "x as fast", limit))
    return bar


def install() -> str:
    """Makes the venv of the peer; says why that cannot be done."""
    mark = VENV / "installed.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return ""
    log(f"  installing {wanted.strip()}")
    pip = [VENV / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", REQUIREMENTS]
    try:
        for command in ([sys.executable, "-m", "venv", VENV], pip):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{error} {getattr(error, 'stderr', '') or ''}".strip()
    mark.write_text(wanted, encoding="utf-8")
    return ""


def dlt_cases(loads: Loads, records: int, limit: Limit | None) -> list[Case]:
    lab = loads.lab
    theirs = [dlt_rounds(lab, collection, records) for collection in COLLECTIONS]
    ours = [loads.rounds(collection, records) for collection in COLLECTIONS]
    their_s = sum(median(rounds, "seconds") for rounds in theirs)
    our_s = sum(median(rounds, "sync_s") for rounds in ours)
    label = f"{records:,} each, dlt {theirs[0][0]['version']}, csv"
    if any(len(rounds) < lab.sizes.rounds for rounds in theirs):
        label += ", one round of what takes over a minute"
    return [
        Case(label, 2 * records / their_s, "rows/s", rounds=[row for rounds in theirs for row in rounds]),
        Case(f"{records:,} each, against dlt", their_s / our_s, "x as fast", limit),
    ]


def dlt_rounds(lab: Lab, collection: str, records: int) -> Rounds:
    """One round is enough where it takes more than a minute."""
    lab.app.hold(**{collection: records})
    rounds: Rounds = []
    while len(rounds) < lab.sizes.rounds and not (rounds and rounds[0]["seconds"] > ONE_ROUND_FROM_SECONDS):
        rounds.append(dlt_round(lab, collection, records))
        log(f"  dlt, {records} {collection}: {rounds[-1]}")
    return rounds


def dlt_round(lab: Lab, collection: str, records: int) -> dict[str, Any]:
    dataset = f"dlt_{collection}"
    sockets = urllib.parse.quote(str(lab.cluster.sockets), safe="")
    with lab.session() as session, tempfile.TemporaryDirectory(dir=VENV.parent) as directory:
        given = {
            "base_url": lab.app.url,
            "collection": collection,
            "dataset": dataset,
            "directory": directory,
            "credentials": f"postgresql://postgres:none@{sockets}:{lab.cluster.dsn(DATABASE)['port']}/{DATABASE}",
        }
        lab.settle(session)
        command = [VENV / "bin/python", Path(__file__).with_name("peer_dlt.py"), json.dumps(given)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory)
        if done.returncode:
            raise RuntimeError(f"dlt failed: {done.stderr[-4000:]}")
        stored = count_rows(session, quoted(dataset, collection))
        assert stored == records, f"dlt stored {stored} of {records} {collection}"
        session.run("SET client_min_messages = error", f"DROP SCHEMA {dataset} CASCADE")
    return {"collection": collection, "records": records, **json.loads(done.stdout.splitlines()[-1])}
