"""Measures every bar in one run, prints them as a table and writes target/bench/results.json.

The exit status tells whether everything could be measured, not whether the bars were met: the last line does.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict

import changes
import loads
import peers
import report
import waiting
from bars import Bar
from lab import FULL, QUICK, Lab, log

Measure = Callable[[loads.Loads], Bar]

BARS: dict[str, Measure] = {
    "first-load": loads.first_load,
    "scalar-columns": loads.scalar_columns,
    "peer": peers.peer,
    "latency": waiting.latency,
    "pace": waiting.pace,
    "memory": loads.memory,
    "change": changes.change,
    "quiet": changes.quiet,
    "per-row": loads.per_row,
    "first-row": waiting.first_row,
    "cancel": waiting.cancel,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench BENCH='..'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of small sizes: tries the harness only")
    parser.add_argument("--only", help=f"some of the bars, with commas between: {', '.join(BARS)}")
    given = parser.parse_args()
    given.names = given.only.split(",") if given.only else list(BARS)
    unknown = [name for name in given.names if name not in BARS]
    if unknown:
        parser.error(f"no such bar: {', '.join(unknown)}; there are {', '.join(BARS)}")
    return given


def measure(lab: Lab, names: list[str]) -> list[Bar]:
    shared = loads.Loads(lab)
    started = time.monotonic()
    bars = []
    for name in names:
        log(f"[{time.monotonic() - started:6.1f} s] {name}")
        try:
            bars.append(BARS[name](shared))
        except Exception as error:  # the other bars can still be measured
            traceback.print_exc()
            bars.append(Bar(name, "could not be measured", failed=f"{type(error).__name__}: {error}".splitlines()[0]))
    return bars


def main() -> None:
    given = arguments()
    # A run that is told to end still removes its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    machine = report.machine()
    lab = Lab(QUICK if given.quick else FULL)
    started = time.monotonic()
    try:
        bars = measure(lab, given.names)
        about = {
            "seconds": round(time.monotonic() - started, 1),
            "is_quick": given.quick,
            "machine": machine,
            "versions": report.versions(lab),
            "settings": report.settings_in_force(lab),
            "sizes": asdict(lab.sizes),
        }
    finally:
        lab.close()
    print(report.table(bars))
    print(f"\nwritten to {report.write(bars, about).relative_to(report.ROOT)}")
    if given.quick:
        print("a quick run: its figures mean nothing")
    print(f"{sum(bar.is_met for bar in bars)} of {len(bars)} bars met")
    sys.exit(any(bar.failed for bar in bars))


if __name__ == "__main__":
    main()
