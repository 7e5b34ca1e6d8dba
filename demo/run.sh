#!/usr/bin/env bash
# The whole story on one machine: build, start a private server and the simulated apps, connect five, sync, change, ask.
# Leaves everything running; `make demo-stop` ends it. Run again, it starts over.
set -euo pipefail
. "$(dirname "$0")/common.sh"

bash scripts/setup.sh
bash scripts/build.sh
bash scripts/install.sh
say "compiling the simulator"
CARGO_TARGET_DIR=$OTHER_TARGET cargo build -p cloudsync-simulator >&2

server=$(find_pg_config) || fail "no PostgreSQL server found: make setup"
bin=$("$server" --bindir)

say "starting a private server on 127.0.0.1:$DEMO_PORT"
stop_demo
mkdir -m 700 "$DEMO"
if [ "$(id -u)" = 0 ]; then
    chown postgres: "$DEMO"
fi
cd "$DEMO" # the server's user may not be able to stay where we are
as_server "$bin/initdb" -D "$DEMO/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$DEMO/initdb.log" 2>&1 ||
    { cat "$DEMO/initdb.log" >&2; fail "initdb failed"; }
cat >>"$DEMO/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $DEMO_PORT
unix_socket_directories = '$DEMO'
shared_preload_libraries = 'pg_cron'
cron.database_name = 'demo'
cron.host = '127.0.0.1'
# The simulated apps speak plain http on this machine. Leave this off anywhere else.
cloudsync.allow_private_addresses = on
CONF
as_server "$bin/pg_ctl" -D "$DEMO/data" -l "$DEMO/server.log" -w -s start ||
    { tail -n 20 "$DEMO/server.log" >&2; fail "the server did not start (is port $DEMO_PORT in use?)"; }

say "starting the simulated apps"
setsid "$SIMULATOR" --port-base $DEMO_SIMULATOR_PORT --stop-after-seconds 0 \
    >"$DEMO/simulator.json" 2>"$DEMO/simulator.log" </dev/null &
echo $! >"$DEMO/simulator.pid"
control=http://127.0.0.1:$DEMO_SIMULATOR_PORT
for _ in $(seq 100); do
    curl -fs "$control/health" >/dev/null && break
    kill -0 "$(cat "$DEMO/simulator.pid")" 2>/dev/null || fail "the simulator did not start: $(cat "$DEMO/simulator.log")"
    sleep 0.1
done

# What the simulator said when it started: {"stripe": {"http": "http://..", ..}, ..}.
addresses=()
for app in salesforce stripe zendesk hubspot intercom; do
    addresses+=(-v "${app}_url=$(sed -nE 's/.*"'$app'":\{"http":"([^"]+)".*/\1/p' "$DEMO/simulator.json")")
done

# Tells an app's control port something: control METHOD PATH [JSON].
control() {
    curl -fsS -X "$1" "$control$2" -H 'Content-Type: application/json' ${3:+-d "$3"}
}

psql() {
    PGOPTIONS='-c client_min_messages=notice' "$bin/psql" -X -q -h 127.0.0.1 -p $DEMO_PORT -U postgres -v ON_ERROR_STOP=1 \
        "${addresses[@]}" -P pager=off "$@"
}

# Runs one chapter, each statement shown before its result.
chapter() {
    echo
    say "$2"
    psql -d demo --echo-queries <"$TOP/demo/$1"
}

# Company number i has the same name and domain in every app.
seed() {
    control POST "/$1/seed" "$2" >/dev/null
}
seed salesforce '{"accounts": 300, "contacts": 600, "leads": 200, "opportunities": 400, "tasks": 2000, "until": "now"}'
seed stripe '{"products": 12, "customers": 250, "charges": 1500, "invoices": 400, "subscriptions": 150}'
seed zendesk '{"groups": 5, "organizations": 60, "users": 200, "tickets": 300, "until": "now"}'
seed zendesk '{"ticket_comments": 200, "until": "now"}'
seed hubspot '{"owners": 3, "companies": 60, "contacts": 200, "deals": 80, "email_campaigns": 4, "until": "now"}'
seed hubspot '{"email_events": 400, "until": "now"}'
seed intercom '{"admins": 4, "companies": 60, "users": 120, "until": "now"}'
seed intercom '{"conversations": 40, "until": "now"}'
seed intercom '{"conversation_parts": 120, "until": "now"}'
psql -d postgres -c 'CREATE DATABASE demo'

chapter 1_connect.sql "connecting five apps"
chapter 2_first_sync.sql "the first sync"

echo
say "at the apps: an account gets a new name, a lead and a customer are deleted, another one signs up, a ticket is solved"
pick() {
    psql -d demo -At -c "$1"
}
account=$(pick "SELECT id FROM salesforce.accounts ORDER BY id LIMIT 1")
lead=$(pick "SELECT id FROM salesforce.leads ORDER BY id LIMIT 1")
customer=$(pick "SELECT id FROM stripe.customers ORDER BY id LIMIT 1")
ticket=$(pick "SELECT id FROM zendesk.tickets ORDER BY id LIMIT 1")
control PATCH "/salesforce/accounts/$account" '{"Name": "Renamed by the Demo"}' >/dev/null
control DELETE "/salesforce/leads/$lead" >/dev/null
control DELETE "/stripe/customers/$customer" >/dev/null
control PATCH "/zendesk/tickets/$ticket" '{"status": "solved"}' >/dev/null
control POST /stripe/customers '{"name": "Newly Signed Up", "email": "hello@newly-signed-up.example"}' >/dev/null

chapter 3_changes.sql "one refresh brings the changes: one call in all for Stripe, one a collection for Salesforce"
chapter 4_schedule.sql "from now on pg_cron keeps the tables fresh"

control PATCH "/salesforce/accounts/$account" '{"Name": "Renamed Once More"}' >/dev/null
say "renamed that account again; now waiting for pg_cron's next minute"
for second in $(seq 90); do
    runs=$(pick "SELECT count(*) FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')")
    [ "$runs" -ge 4 ] && break
    if [ -t 2 ]; then
        printf '\r    %2d s, %s of 2 jobs done ' "$second" "$runs" >&2
    elif [ $((second % 15)) = 0 ]; then
        say "$second s, $runs of 4 jobs done"
    fi
    sleep 1
done
[ ! -t 2 ] || echo >&2
[ "$runs" -ge 4 ] || fail "pg_cron ran nothing within 90 s; see $DEMO/server.log"

chapter 5_fresh.sql "what pg_cron did"
chapter 6_questions.sql "questions that need several apps"

cat <<END

Everything is still running. Look around with

    psql -h 127.0.0.1 -p $DEMO_PORT -U postgres demo

and ask the apps live: SELECT name, industry FROM salesforce_live.accounts LIMIT 5;
Change something at an app and see it arrive within the minute:

    curl -X PATCH $control/salesforce/accounts/$account -d '{"Name": "Your Name"}'

    make demo-stop    ends it all
END
