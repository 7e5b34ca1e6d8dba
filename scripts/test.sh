#!/usr/bin/env bash
# Runs all tests, or the part named: rust (no server needed) or e2e (against the extension as installed).
# The last line is "N passed, N failed"; the exit status is 0 only when something passed and nothing failed.
set -euo pipefail
. "$(dirname "$0")/common.sh"

part=${1:-all}
logs=target/test-logs
mkdir -p "$logs"
passed=0
failed=0

# A step without tests of its own (formatting, lints, a build) counts when it fails.
step() {
    local name=$1 started=$SECONDS
    shift
    say "$name"
    if "$@" >&2; then
        say "$name: good ($((SECONDS - started)) s)"
    else
        say "$name: FAILED ($((SECONDS - started)) s)"
        failed=$((failed + 1))
        return 1
    fi
}

# Adds up the closing lines of cargo test; a run that ends without one counts as a failure.
cargo_tests() {
    local name=$1 log=$logs/cargo-$1.log ok=0 bad=0 status=0
    shift
    say "cargo test: $name"
    CARGO_TARGET_DIR=$OTHER_TARGET cargo test "$@" 2>&1 | tee "$log" >&2 || status=1
    ok=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    bad=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
    fi
    say "cargo test: $name: $ok passed, $bad failed"
    passed=$((passed + ok))
    failed=$((failed + bad))
}

# Adds up pytest's report; a run that leaves none counts as a failure, a skipped test is shown by its reason.
pytest_run() {
    local name=$1 report=$logs/pytest-$1.xml counts status=0
    shift
    rm -f "$report"
    say "pytest: $name"
    env -u RUST_BACKTRACE "$VENV/bin/python" -m pytest -p no:cacheprovider -rs --junitxml="$report" "$@" >&2 || status=$?
    counts=$("$VENV/bin/python" scripts/count_report.py "$report") || counts="0 1"
    read -r ok bad <<<"$counts"
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
    fi
    say "pytest: $name: $ok passed, $bad failed"
    passed=$((passed + ok))
    failed=$((failed + bad))
}

# The apps' own client libraries against the simulator, which says where it is in one line.
client_tests() {
    local line number
    [ -d tests/clients ] || return 0
    coproc SIMULATED { exec "$SIMULATOR" --ca-file "$PWD/$logs/clients-ca.pem" --stop-after-seconds 1800; }
    number=$SIMULATED_PID
    read -r -u "${SIMULATED[0]}" line
    CLOUDSYNC_SIMULATOR=$line pytest_run clients tests/clients
    kill "$number" 2>/dev/null || true
    wait "$number" 2>/dev/null || true
}

rust_part() {
    step "formatting" cargo fmt --all --check || true
    # The sources are read from the simulator without a server, too.
    if step "building the simulator" env CARGO_TARGET_DIR="$OTHER_TARGET" cargo build -p cloudsync-simulator; then
        export CLOUDSYNC_SIMULATOR_PROGRAM=$SIMULATOR
    fi
    cargo_tests layers -p cloudsync-layers
    cargo_tests simulator -p cloudsync-simulator
    cargo_tests bench-server -p cloudsync-bench-server
    step "lints" env CARGO_TARGET_DIR="$OTHER_TARGET" bash scripts/lint.sh || true
}

e2e_part() {
    step "building the simulator" env CARGO_TARGET_DIR="$OTHER_TARGET" cargo build -p cloudsync-simulator || return 0
    client_tests
    # TESTS is meant to be split into words.
    # shellcheck disable=SC2086
    pytest_run e2e tests/e2e ${TESTS:-}
}

case $part in
rust) rust_part ;;
e2e) e2e_part ;;
all)
    step "set-up" bash scripts/setup.sh
    rust_part
    if step "building the extension" bash scripts/build.sh && step "installing the extension" bash scripts/install.sh; then
        e2e_part
    fi
    ;;
*) fail "no such part of the tests: $part" ;;
esac

echo "$passed passed, $failed failed"
[ "$passed" -gt 0 ] && [ "$failed" = 0 ]
