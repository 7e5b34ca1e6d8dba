#!/usr/bin/env bash
# Copies what build.sh laid out into the server of PG_CONFIG. A running server keeps the library it has loaded.
set -euo pipefail
. "$(dirname "$0")/common.sh"

server=$(find_pg_config) || fail "no PostgreSQL server found: make setup"
library=$("$server" --pkglibdir)
share=$("$server" --sharedir)/extension
[ -f "$PACKAGE$library/cloudsync.so" ] || fail "nothing built for $library: make build"

run=as_root
if [ -w "$library" ] && [ -w "$share" ]; then
    run=env
fi
# `install` replaces the file instead of writing into it: a server that has the old one mapped keeps it whole.
$run install -m 755 "$PACKAGE$library/cloudsync.so" "$library/cloudsync.so"
for file in "$PACKAGE$share"/cloudsync*; do
    $run install -m 644 "$file" "$share/"
done
say "installed into $library and $share"
