#!/usr/bin/env bash
# Compiles the extension for the server of PG_CONFIG and lays its files out under target/package.
set -euo pipefail
. "$(dirname "$0")/common.sh"

server=$(find_pg_config) || fail "no PostgreSQL server found: make setup"
say "compiling the extension for $("$server" --version); about 4 minutes the first time"
started=$SECONDS
CARGO_TARGET_DIR=$EXTENSION_TARGET cargo pgrx package --pg-config "$server" --out-dir "$PACKAGE" >&2
say "compiled in $((SECONDS - started)) s"
