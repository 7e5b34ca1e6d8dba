"""How the results are shown and kept."""

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bars import Bar, Case
from bench_server import ROOT
from lab import SETTINGS, Lab

RESULTS = ROOT / "target/bench/results.json"
Line = tuple[str, str, str, str, str]


def number(value: float, unit: str) -> str:
    """Three digits that count; counts and large numbers are whole."""
    is_ratio = unit.startswith("x")
    return f"{value:,.0f}" if value == int(value) and not is_ratio or abs(value) >= 100 else f"{value:#.3g}"


def table(bars: Iterable[Bar]) -> str:
    """A line for each bar with its verdict, and under it a line for each figure."""
    lines: list[Line] = [("bar", "measured", "must", "aim", "verdict")]
    for bar in bars:
        lines.append((f"{bar.name}: {bar.title}", bar.failed or bar.skipped, "", "", bar.verdict))
        lines += map(case_line, bar.cases)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])


def case_line(case: Case) -> Line:
    label, measured = f"    {case.label}", f"{number(case.value, case.unit)} {case.unit}"
    if case.limit is None:
        return label, measured, "", "", ""
    sign = "<=" if case.limit.direction == "at most" else ">="
    aim = "" if case.limit.aim is None else f"{sign} {case.limit.aim:g}"
    return label, measured, f"{sign} {case.limit.must:g}", aim, case.verdict or ""


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()[0].split()[1]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": int(memory) // 1024,
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
    }


def revision() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None


def versions(lab: Lab) -> dict[str, str | None]:
    with lab.session() as session:
        extension = session.value("SELECT extversion FROM pg_extension WHERE extname = 'cloudsync'")
        return {"postgresql": session.value("SHOW server_version"), "cloudsync": extension, "revision": revision()}


def settings_in_force(lab: Lab) -> dict[str, str]:
    names = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) OR source = 'configuration file'"
    with lab.session() as session:
        return {row.name: row.current_setting for row in session.rows(names, [*SETTINGS, "wal_level"])}


def write(bars: list[Bar], about: dict[str, Any]) -> Path:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    shown = [{**asdict(bar), "verdict": bar.verdict, "cases": list(map(case_json, bar.cases))} for bar in bars]
    at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    RESULTS.write_text(json.dumps({"ended_at": at, **about, "bars": shown}, indent=2) + "\n")
    return RESULTS


def case_json(case: Case) -> dict[str, Any]:
    return {**asdict(case), "verdict": case.verdict}
