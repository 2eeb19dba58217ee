#!/usr/bin/env bash
# What the gateway costs next to nginx as a plain proxy, in front of the same upstream, in one interleaved run: CPU a
# request (utime + stime of the whole process tree over the requests it answered), requests a second, latency, ratios.
#
#   benches/compare.sh [BINARY] [ROUNDS] [SECONDS]       target/dist/vestibule 7 4
#
# Needs nginx, wrk, Node 20 with tests/e2e installed (npm ci), Python. Everything stays on loopback.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:-target/dist/vestibule}")
rounds=${2:-7}
seconds=${3:-4}
connections=${CONNECTIONS:-32}

die() { printf 'benches/compare.sh: %s\n' "$*" >&2; exit 1; }
for tool in wrk node python3 curl; do command -v $tool >/dev/null || die "$tool is missing"; done
[ -x /usr/sbin/nginx ] || die "nginx is missing"
[ -x "$binary" ] || die "$binary is missing: cargo build --profile dist"

scratch=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

mapfile -t ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(7)]
for s in sockets: print(s.getsockname()[1])')
upstream=${ports[0]} nginx=${ports[1]} provider=${ports[2]}
quiet=${ports[3]} quiet_ops=${ports[4]} logging=${ports[5]} logging_ops=${ports[6]}

start_nginx() { # NAME, and the http block's content on standard input
    cat >"$scratch/$1.conf" <<CONF
daemon off;
worker_processes auto;
pid $scratch/$1.pid;
error_log stderr warn;
$([ "$(id -u)" = 0 ] && echo 'user root;')
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $scratch/$1-body; proxy_temp_path $scratch/$1-proxy; fastcgi_temp_path $scratch/$1-fastcgi;
    uwsgi_temp_path $scratch/$1-uwsgi; scgi_temp_path $scratch/$1-scgi;
    keepalive_requests 100000000;
$(cat)
}
CONF
    /usr/sbin/nginx -c "$scratch/$1.conf" -e stderr &
    started+=($!)
}

# The app: answers at once; on /private only a request that carries an assertion.
start_nginx upstream <<CONF
    server {
        listen 127.0.0.1:$upstream;
        default_type text/plain;
        location / { return 200 "a small answer, as small as answers are\n"; }
        location /private {
            if (\$http_x_vestibule_assertion = "") { return 500; }
            return 200 "a small answer, as small as answers are\n";
        }
    }
CONF

# nginx as its documentation sets up a proxy that keeps its upstream connections.
start_nginx proxy <<CONF
    upstream app { server 127.0.0.1:$upstream; keepalive 64; keepalive_requests 100000000; }
    server {
        listen 127.0.0.1:$nginx;
        location / {
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto \$scheme;
            proxy_set_header X-Forwarded-Host \$http_host;
            proxy_set_header X-Request-Id \$request_id;
        }
    }
CONF
nginx_pid=${started[1]}

start_gateway() { # PORT OPS_PORT ACCESS_LOG
    mkdir "$scratch/$1"
    env -i PATH="$PATH" VESTIBULE_UPSTREAM="http://127.0.0.1:$upstream" VESTIBULE_PUBLIC_URL="http://localhost:$1" \
        VESTIBULE_LISTEN="127.0.0.1:$1" VESTIBULE_OPS_LISTEN="127.0.0.1:$2" VESTIBULE_ACCESS_LOG="$3" \
        VESTIBULE_DATABASE_URL="sqlite:$scratch/$1/vestibule.db" VESTIBULE_PUBLIC_PATHS='/public/*' \
        VESTIBULE_INITIAL_ADMINS=alice@example.com VESTIBULE_LOG=warn VESTIBULE_LOG_FORMAT=json \
        OIDC_ISSUER="http://127.0.0.1:$provider" OIDC_CLIENT_ID=code-es256 \
        OIDC_CLIENT_SECRET='a secret that only the two of them know' \
        "$binary" serve >"$scratch/$1/out" 2>"$scratch/$1/err" &
    started+=($!)
    for _ in $(seq 200); do
        curl -fs "http://127.0.0.1:$2/readyz" >/dev/null && return
        sleep 0.05
    done
    cat "$scratch/$1/err" >&2
    die "the gateway does not start"
}
start_gateway "$quiet" "$quiet_ops" false
quiet_pid=${started[2]}
start_gateway "$logging" "$logging_ops" true
logging_pid=${started[3]}
sleep 2
rss() { awk '/^VmRSS/ { printf "%.1f MB", $2 / 1024 }' "/proc/$1/status"; }
idle=$(rss "$quiet_pid")

quiet_cookie=$(node benches/sign-in.mjs "http://localhost:$quiet" "$provider" 2>"$scratch/node")
logging_cookie=$(node benches/sign-in.mjs "http://localhost:$logging" "$provider" 2>"$scratch/node")

ticks() { # PID: its own and its children's utime + stime
    local pid total=0 sum
    for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
        sum=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')
        total=$((total + sum))
    done
    echo "$total"
}
per_second=$(getconf CLK_TCK)

run() { # NAME ROUND PID PORT PATH COOKIE
    local before after result
    local headers=(-H "Host: localhost:$4")
    [ -z "$6" ] || headers+=(-H "Cookie: $6")
    before=$(ticks "$3")
    result=$(wrk -t1 -c"$connections" -d"${seconds}s" -s benches/report.lua "${headers[@]}" "http://127.0.0.1:$4$5" | grep '^RESULT')
    sleep 0.2
    after=$(ticks "$3")
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$((after - before))" $result
    [ "$9 ${10}" = "0 0" ] || die "$1: $9 answers were not good, ${10} times the connection failed"
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$(python3 -c "print($3 / $per_second)")" "$5" "$6" "$7" "$8"
}

for round in $(seq 0 "$rounds"); do
    {
        run 'nginx, plain proxy' "$round" "$nginx_pid" "$nginx" /public/x ''
        run 'gateway, public path' "$round" "$quiet_pid" "$quiet" /public/x ''
        run 'gateway, session' "$round" "$quiet_pid" "$quiet" /private/x "$quiet_cookie"
        run 'gateway, session, access log' "$round" "$logging_pid" "$logging" /private/x "$logging_cookie"
    } >>"$scratch/runs"
    printf 'round %s of %s\n' "$round" "$rounds" >&2
done

printf '%s, %s cores, %s connections, %s rounds of %s s, medians (least–most)\n\n' \
    "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //')" "$(nproc)" "$connections" "$rounds" "$seconds"
# Round 0 warms up.
awk -F'\t' '$2 > 0' "$scratch/runs" | python3 benches/medians.py
printf '\nMemory of the gateway: %s idle after its start, %s after the load.\n' "$idle" "$(rss "$quiet_pid")"
