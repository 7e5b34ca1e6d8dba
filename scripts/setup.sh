#!/usr/bin/env bash
# Brings a Debian 12 machine to the point where the extension builds and its tests run. Does only what is missing.
set -euo pipefail
. "$(dirname "$0")/common.sh"

missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

packages=(ca-certificates curl gcc libc6-dev make pkg-config clang libclang-dev libssl-dev python3-venv)
if ! server=$(find_pg_config) || [ ! -f "$("$server" --includedir-server)/postgres.h" ]; then
    packages+=(postgresql-15 postgresql-server-dev-15)
fi
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    packages+=(nodejs npm)
fi
major=15
if server=$(find_pg_config); then
    major=$("$server" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
fi
if [ ! -f "${server:+$("$server" --sharedir)/extension/pg_cron.control}" ]; then
    packages+=("postgresql-$major-cron")
fi
if command -v dpkg-query >/dev/null 2>&1; then
    mapfile -t wanted < <(missing_packages "${packages[@]}")
    if [ ${#wanted[@]} -gt 0 ]; then
        say "installing Debian packages: ${wanted[*]}"
        as_root apt-get -q update >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${wanted[@]}" >&2
    fi
else
    say "not a Debian system; these packages are expected to be there: ${packages[*]}"
fi
server=$(find_pg_config) || fail "no PostgreSQL server found; name its pg_config: make PG_CONFIG=/path/to/pg_config"

if ! command -v cargo >/dev/null 2>&1; then
    fail "Rust is missing. Debian 12's own is too old (1.63); install $RUST_MINIMUM or newer with rustup
       (see https://rustup.rs), then run this again"
fi
rust=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$RUST_MINIMUM" "$rust" | sort -V | head -n 1)" != "$RUST_MINIMUM" ]; then
    fail "Rust $rust is too old, $RUST_MINIMUM or newer is needed: rustup update"
fi
for component in clippy fmt; do
    cargo $component --version >/dev/null 2>&1 || fail "cargo $component is missing: rustup component add clippy rustfmt"
done

if [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $CARGO_PGRX_VERSION" ]; then
    say "installing cargo-pgrx $CARGO_PGRX_VERSION, about 5 minutes"
    cargo install cargo-pgrx --version "$CARGO_PGRX_VERSION" --locked >&2
fi
if ! grep -q "^pg$major *=" "${PGRX_HOME:-$HOME/.pgrx}/config.toml" 2>/dev/null; then
    say "telling cargo-pgrx about $server"
    cargo pgrx init --no-run "--pg$major" "$server" >&2
fi

# The marker is a copy of what was installed, so a change of the requirements installs again.
requirements=(tests/requirements.txt)
if [ -f tests/clients/requirements.txt ]; then
    requirements+=(tests/clients/requirements.txt)
fi
if ! cat "${requirements[@]}" | cmp -s - "$VENV/installed.txt"; then
    say "installing the Python packages of the tests"
    mkdir -p target
    [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
    "$VENV/bin/pip" install -q --disable-pip-version-check "${requirements[@]/#/--requirement=}" >&2
    cat "${requirements[@]}" >"$VENV/installed.txt"
fi
# Of the apps' own clients one is for Node.
if ! cmp -s tests/clients/node/package.json target/node/installed.json; then
    say "installing the Node packages of the tests"
    mkdir -p target/node
    cp tests/clients/node/package.json target/node/
    npm install --prefix target/node --no-audit --no-fund --loglevel=error >&2
    cp tests/clients/node/package.json target/node/installed.json
fi
say "set up: $("$server" --version), Rust $rust, cargo-pgrx $CARGO_PGRX_VERSION"
