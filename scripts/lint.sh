#!/usr/bin/env bash
# Lints everything. The extension's own tests are those of tests/layers: with its test targets, cargo would look for
# crates that only the layers' tests have.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy -p cloudsync -- -D warnings
cargo clippy -p cloudsync-layers -p cloudsync-simulator -p cloudsync-bench-server --all-targets -- -D warnings
