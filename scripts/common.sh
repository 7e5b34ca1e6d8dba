# Decides where things are and how to act as root or as the server's user; read by the other scripts, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
TOP=$PWD
export TOP

CARGO_PGRX_VERSION=0.18.1
RUST_MINIMUM=1.89

# rustup puts cargo here, and only login shells look there.
if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
fi

# The extension and everything else have separate target directories: cargo-pgrx links with flags of its own, and
# cargo would compile all dependencies again at each change of flags.
EXTENSION_TARGET=$TOP/target
OTHER_TARGET=$TOP/target/layers
VENV=$TOP/target/venv
PACKAGE=$TOP/target/package
SIMULATOR=$OTHER_TARGET/debug/cloudsync-simulator
export SIMULATOR

# Progress goes to standard error, so that it comes in order with cargo's.
say() {
    printf '==> %s\n' "$*" >&2
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "this needs root: run it as root, or install sudo first ($*)"
    fi
}

# PostgreSQL refuses to run as root: root starts it as user postgres, anyone else as themselves. With
# RUST_BACKTRACE set, every error of the extension would carry a backtrace in its DETAIL.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups env -u RUST_BACKTRACE HOME=/var/lib/postgresql "$@"
    else
        env -u RUST_BACKTRACE "$@"
    fi
}

# `pg_config` alone may belong to client packages; the server's own one names the directories that count.
find_pg_config() {
    local given=${PG_CONFIG:-pg_config}
    if command -v "$given" >/dev/null 2>&1 && [ -x "$("$given" --bindir)/postgres" ]; then
        command -v "$given"
    elif [ -x /usr/lib/postgresql/15/bin/pg_config ]; then
        echo /usr/lib/postgresql/15/bin/pg_config
    else
        return 1
    fi
}
