#!/usr/bin/env bash
# Ends the demo's server and simulator and removes their data. Harmless when nothing runs.
set -euo pipefail
. "$(dirname "$0")/common.sh"

if [ -d "$DEMO" ]; then
    stop_demo
    say "the demo has ended"
fi
