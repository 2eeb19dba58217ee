#!/usr/bin/env bash
# How Vestibule stands growth, on SQLite: 1,000,000 sessions of 100,000 people; requests with a cold and a warm cache, and
# with more sessions than the cache holds; the clean-up of what has expired; a storm of sign-ins beside steady traffic.
#
#   benches/growth.sh [BINARY] [SESSIONS] [PEOPLE] [SIGN_INS]          target/dist/vestibule 1000000 100000 2000
#
# Needs nginx, wrk, Node 20 with tests/e2e installed (npm ci), Python. Everything stays on loopback and is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(realpath "${1:-target/dist/vestibule}")
sessions=${2:-1000000} people=${3:-100000} sign_ins=${4:-2000}
used=$((sessions < 100000 ? sessions / 2 : 50000))
. benches/stage.sh
needs node python3 curl wrk
[ -x "$binary" ] || die "$binary is missing: cargo build --profile dist"

mapfile -t ports < <(free_ports 5)
app=${ports[0]} provider=${ports[1]} gateway=${ports[2]} ops=${ports[3]}
start_app "$app" "${ports[4]}"
start() { start_gateway grown "$gateway" "$ops" "$app" "$provider" VESTIBULE_SESSION_CACHE=64 "$@"; }
start
cookie=$(sign_in "http://localhost:$gateway" "$provider")

load() { # WHAT SECONDS SCRIPT: 32 connections; what a request cost, and the latency
    local before after result
    before=$(ticks "$gateway_pid")
    result=$(COOKIES="$scratch/cookies" wrk -t1 -c32 -d"${2}s" --timeout 10s -s "benches/$3" -H "Host: localhost:$gateway" \
        -H "Cookie: $cookie" "http://127.0.0.1:$gateway/private/x" | grep '^RESULT')
    after=$(ticks "$gateway_pid")
    # shellcheck disable=SC2086
    set -- "$1" "$before" "$after" $result
    awk "BEGIN { printf \"| %s | %.1f | %.0f | %.2f | %.2f | %d | %s |\n\", \"$1\", ($3 - $2) / $per_second / $5 * 1e6, \
        $5 / $6 * 1e6, $7 / 1000, $8 / 1000, $9 + ${10}, \"$(rss "$gateway_pid")\" }"
}
printf '%s sessions of %s people, %s of them with requests\n\n' "$sessions" "$people" "$used"
printf '| | CPU a request, µs | requests/s | p50, ms | p99, ms | not good | RSS, MB |\n|---|---|---|---|---|---|---|\n'
load 'warm-up' 3 report.lua >/dev/null
load 'one session in the store' 8 report.lua
stop "$gateway_pid"

python3 benches/fill.py "$scratch/grown/vestibule.db" "$(echo "$scratch"/grown/*.key)" "vestibule-$gateway" \
    "$people" "$sessions" "$used" $((sessions / 4)) >"$scratch/cookies"
began=$(date +%s%N)
start
ready=$((($(date +%s%N) - began) / 1000000))
idle=$(rss "$gateway_pid")
load 'one session used' 8 report.lua
load 'each request another session, cold' 8 cookies.lua
load 'the same, warm' 8 cookies.lua
load 'one session used, after that' 8 report.lua
printf '\nReady after %s ms, with %s MB.\n' "$ready" "$idle"

printf '\nA quarter of the sessions has expired before the start; once a minute it is tidied.\n\n'
left() { python3 -c 'import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM sessions WHERE expires <= unixepoch()").fetchone()[0])' "$scratch/grown/vestibule.db"; }
printf '| | CPU a request, µs | requests/s | p50, ms | p99, ms | not good | RSS, MB |\n|---|---|---|---|---|---|---|\n'
load 'while it is tidied' 75 report.lua
printf '\n%s expired sessions are left.\n' "$(left)"

printf '\n%s sign-ins beside steady traffic:\n\n' "$sign_ins"
printf '| | CPU a request, µs | requests/s | p50, ms | p99, ms | not good | RSS, MB |\n|---|---|---|---|---|---|---|\n'
load 'before' 8 report.lua
# Steady, so that what the storm costs can be told apart from it.
node benches/storm.mjs "http://localhost:$gateway" "$provider" "$sign_ins" >"$scratch/storm" &
started+=($!)
storm=$!
load 'during' 8 report.lua
wait "$storm" || die "the storm failed"
load 'after' 8 report.lua
before=$(ticks "$gateway_pid")
alone=$(node benches/storm.mjs "http://localhost:$gateway" "$provider" "$sign_ins")
after=$(ticks "$gateway_pid")
printf '\nBeside traffic: %s. Alone: %s, %s ms of CPU each.\n' "$(cat "$scratch/storm")" "$alone" \
    "$(awk "BEGIN { printf \"%.2f\", ($after - $before) / $per_second / $sign_ins * 1000 }")"
