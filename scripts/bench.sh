#!/usr/bin/env bash
# Measures the extension as installed, with a server and an app of its own: about 25 minutes. The arguments are those of
# tests/bench/bench.py. The last line is "N of M bars met"; the exit status is 0 when all could be measured.
set -euo pipefail
. "$(dirname "$0")/common.sh"

say "building the server of the benchmarks"
CARGO_TARGET_DIR=$OTHER_TARGET cargo build --release -p cloudsync-bench-server >&2
BENCH_SERVER=$OTHER_TARGET/release/cloudsync-bench-server
export BENCH_SERVER
exec env -u RUST_BACKTRACE "$VENV/bin/python" -B tests/bench/bench.py "$@"
