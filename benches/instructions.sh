#!/usr/bin/env bash
# Counts the gateway's own instructions for an authenticated keep-alive GET, under callgrind: the same whatever else the
# machine does. Prints the figure, and the functions that cost most in a whole life.
#
#   benches/instructions.sh [BINARY] [REQUESTS]          target/release/vestibule 5000
#
# Needs valgrind, nginx, Node 20 with tests/e2e installed (npm ci), Python. Everything stays on loopback.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:-target/release/vestibule}")
requests=${2:-5000}

die() { printf 'benches/instructions.sh: %s\n' "$*" >&2; exit 1; }
for tool in valgrind callgrind_annotate node python3 curl; do command -v $tool >/dev/null || die "$tool is missing"; done
[ -x /usr/sbin/nginx ] || die "nginx is missing"
[ -x "$binary" ] || die "$binary is missing: cargo build --release"

scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mapfile -t ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
for s in sockets: print(s.getsockname()[1])')
upstream=${ports[0]} provider=${ports[1]} gateway=${ports[2]} ops=${ports[3]}

cat >"$scratch/nginx.conf" <<CONF
daemon off;
pid $scratch/nginx.pid;
error_log stderr warn;
$([ "$(id -u)" = 0 ] && echo 'user root;')
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path $scratch/body; proxy_temp_path $scratch/proxy; fastcgi_temp_path $scratch/fastcgi;
    uwsgi_temp_path $scratch/uwsgi; scgi_temp_path $scratch/scgi;
    server {
        listen 127.0.0.1:$upstream;
        default_type text/plain;
        location / {
            if (\$http_x_vestibule_assertion = "") { return 500; }
            return 200 "a small answer, as small as answers are\n";
        }
    }
}
CONF
/usr/sbin/nginx -c "$scratch/nginx.conf" -e stderr &
started+=($!)

start_gateway() { # COMMAND …
    env -i PATH="$PATH" VESTIBULE_UPSTREAM="http://127.0.0.1:$upstream" VESTIBULE_PUBLIC_URL="http://localhost:$gateway" \
        VESTIBULE_LISTEN="127.0.0.1:$gateway" VESTIBULE_OPS_LISTEN="127.0.0.1:$ops" VESTIBULE_ACCESS_LOG=false \
        VESTIBULE_DATABASE_URL="sqlite:$scratch/vestibule.db" VESTIBULE_THREADS=1 VESTIBULE_LOG=warn VESTIBULE_LOG_FORMAT=json \
        VESTIBULE_INITIAL_ADMINS=alice@example.com OIDC_ISSUER="http://127.0.0.1:$provider" OIDC_CLIENT_ID=code-es256 \
        OIDC_CLIENT_SECRET='a secret that only the two of them know' "$@" >"$scratch/out" 2>"$scratch/err" &
    gateway_pid=$!
    started+=($!)
    for _ in $(seq 600); do
        curl -fs "http://127.0.0.1:$ops/readyz" >/dev/null && return
        sleep 0.1
    done
    cat "$scratch/err" >&2
    die "the gateway does not start"
}
start_gateway "$binary" serve
cookie=$(node benches/sign-in.mjs "http://localhost:$gateway" "$provider" 2>"$scratch/node") || { cat "$scratch/node" >&2; die "signing in failed"; }
kill "$gateway_pid"
wait "$gateway_pid" || true

ask() { # COUNT
    python3 - "$gateway" "$1" "$cookie" <<'PY'
import http.client, sys
port, count, cookie = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
connection = http.client.HTTPConnection("127.0.0.1", port)
for _ in range(count):
    connection.request("GET", "/x", headers={"Host": f"localhost:{port}", "Cookie": cookie, "User-Agent": "bench", "Accept": "*/*"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
PY
}
measure() { # COUNT: all instructions of a life with this many requests
    start_gateway valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind.$1" "$binary" serve
    ask "$1"
    kill "$gateway_pid"
    wait "$gateway_pid" || true
    callgrind_annotate --threshold=95 "$scratch/callgrind.$1" >"$scratch/annotated"
    awk '/PROGRAM TOTALS/ { gsub(",", "", $1); print $1 }' "$scratch/annotated"
}
# Two lives that differ in the number of requests: the start and the end are in both.
short=$(measure 500)
long=$(measure $((requests + 500)))
printf '%s instructions for an authenticated keep-alive GET\n\nThe whole of the longer life, %s requests and its start:\n' "$(((long - short) / requests))" "$((requests + 500))"
awk '/PROGRAM TOTALS/ { seen = 1 } seen' "$scratch/annotated" | cut -c1-160 | head -n "${TOP:-45}"
