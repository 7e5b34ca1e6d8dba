# Where the demo lives; read by run.sh and stop.sh, not run.

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

# The server's user has to reach it, so it is not in the checkout, which may lie in a private home.
DEMO=/var/tmp/cloudsync-demo-$(id -un)
DEMO_PORT=54329
DEMO_SIMULATOR_PORT=54330

# Ends a process by its recorded number, if that is still the program it was.
end_recorded() {
    local file=$1 program=$2 signal=$3 number
    [ -f "$file" ] || return 0
    number=$(head -n 1 "$file")
    if [ -n "$number" ] && [ "$(ps -o comm= -p "$number" 2>/dev/null | cut -c1-15)" = "${program:0:15}" ]; then
        kill "-$signal" "$number" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$number" 2>/dev/null || break
            sleep 0.1
        done
    fi
    rm -f "$file"
}

stop_demo() {
    end_recorded "$DEMO/data/postmaster.pid" postgres INT
    end_recorded "$DEMO/simulator.pid" cloudsync-simulator TERM
    rm -rf "$DEMO"
}
