#!/usr/bin/env bash
# Counts the gateway's own instructions for an authenticated keep-alive GET, under callgrind: the same whatever else the
# machine does. Counted is the thread that carries requests, in two lives that differ in the number of requests.
#
#   benches/instructions.sh [--check | --write] [BINARY] [REQUESTS]          target/release/vestibule 2000
#
# --check compares with the figure of the binary's profile in benches/instructions.txt and fails on more than 3 % growth,
# and on far less, too: then nothing was measured, or the figure is to be renewed. --write puts a new figure there. OUT=file
# keeps what callgrind wrote, TOP=n says how many functions are shown.
#
# Needs valgrind, nginx, curl, Node 20 with tests/e2e installed (npm ci), Python.
set -euo pipefail
# A failure inside $(…) is one, too.
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=show
case ${1:-} in --check | --write) mode=${1#--}; shift ;; esac
binary=$(realpath "${1:-target/release/vestibule}")
requests=${2:-2000}
. benches/stage.sh
[[ $requests =~ ^[1-9][0-9]*$ ]] || die "$requests is no number of requests"

needs valgrind callgrind_annotate node python3 curl /usr/sbin/nginx
[ -x "$binary" ] || die "$binary is missing: cargo build --release"
profile=$(basename "$(dirname "$binary")")

mapfile -t ports < <(free_ports 5)
app=${ports[0]} provider=${ports[1]} gateway=${ports[2]} ops=${ports[3]}
start_app "$app" "${ports[4]}"
start_gateway counted "$gateway" "$ops" "$app" "$provider"
cookie=$(sign_in "http://localhost:$gateway" "$provider")
stop "$gateway_pid"

ask() { # COUNT
    python3 - "$gateway" "$1" "$cookie" <<'PY'
import http.client, sys
port, count, cookie = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
for _ in range(count):
    connection.request("GET", "/private/x", headers={"Host": f"localhost:{port}", "Cookie": cookie, "User-Agent": "bench", "Accept": "*/*"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        sys.exit(f"a request was answered {answer.status}")
PY
}
answered() { # how many requests with a session the gateway says that it answered well
    curl -fs --max-time 30 "http://127.0.0.1:$ops/metrics" \
        | awk '$1 == "vestibule_requests_total{class=\"protected\",code=\"200\"}" { print $2 }'
}

# valgrind shows a processor without instructions for SHA, and its AES and AVX2 are there on every machine of the last ten
# years: the count does not depend on the machine, but for the C library's choice of a memcpy. That one is pinned.
export RUN="valgrind --quiet --tool=callgrind --separate-threads=yes --callgrind-out-file=$scratch/callgrind"
measure() { # COUNT: into `spent`, the instructions of the thread that carries requests, in a life with this many
    rm -f "$scratch"/callgrind*
    start_gateway counted "$gateway" "$ops" "$app" "$provider" VESTIBULE_THREADS=1 \
        GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-ERMS,-FSRM
    ask "$1" || die "nothing was measured: the gateway did not answer $1 requests"
    local told
    told=$(answered)
    [ "$told" = "$1" ] || die "nothing was measured: of $1 requests the gateway answered ${told:-none}"
    stop "$gateway_pid"
    # A file a thread, the first of the main one, which makes keys at the start. Of the others the one that carries requests
    # has by far the most to do.
    local carrier
    carrier=$(grep -H '^totals:' "$scratch"/callgrind-* | grep -v '/callgrind-01:' | sort -t: -k3 -n | tail -n 1)
    carrier=${carrier%%:*}
    [ -z "${OUT:-}" ] || cp "$carrier" "$OUT"
    callgrind_annotate --threshold=95 "$carrier" >"$scratch/annotated"
    spent=$(awk '/PROGRAM TOTALS/ { gsub(",", "", $1); print $1; exit }' "$scratch/annotated")
    [[ $spent =~ ^[1-9][0-9]*$ ]] || die "nothing was measured: callgrind tells of ${spent:-no} instructions"
}
# Not in a $(…): what is started there would be nobody's when it fails.
counted() { # into `count`, of one request
    local short
    measure 300
    short=$spent
    measure $((requests + 300))
    count=$(((spent - short) / requests))
    [ "$count" -gt 0 ] || die "nothing was measured: $requests requests more took $((spent - short)) instructions"
}
counted

# What a count depends on besides the program: the C library, and whether its vector instructions are there.
place="glibc-$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)$(grep -qw avx2 /proc/cpuinfo && echo +avx2 || true)"
figures=benches/instructions.txt
read -r known where < <(awk -v profile="$profile" '$1 == profile { print $2, $3 }' "$figures") || true
case $mode in
check)
    [[ ${known:-} =~ ^[1-9][0-9]*$ ]] || die "$figures has no figure for the profile $profile"
    allowed=3 least=90
    if [ "$where" != "$place" ]; then
        allowed=10 least=75
        echo "the figure is of $where, this is $place: $allowed % are allowed"
    fi
    # What disturbs a count (a look at the sessions, a timer) only adds to it: the lowest of three is judged.
    for _ in 1 2; do
        [ $((count * 100)) -le $((known * (100 + allowed))) ] && break
        before=$count
        counted
        [ "$count" -le "$before" ] || count=$before
    done
    printf '%s instructions for an authenticated keep-alive GET (%s profile)\n' "$count" "$profile"
    awk "BEGIN { printf \"%s was written down: %+.1f %%\n\", $known, ($count / $known - 1) * 100 }"
    [ $((count * 100)) -le $((known * (100 + allowed))) ] \
        || die "more than $allowed % over what is written down; if it has to be, write it down: benches/instructions.sh --write"
    [ $((count * 100)) -ge $((known * least)) ] \
        || die "less than $least % of what is written down: if a request really costs so little now, write it down: benches/instructions.sh --write"
    ;;
write)
    printf '%s instructions for an authenticated keep-alive GET (%s profile)\n' "$count" "$profile"
    awk -v profile="$profile" '$1 != profile' "$figures" >"$scratch/figures"
    printf '%s %s %s\n' "$profile" "$count" "$place" >>"$scratch/figures"
    cp "$scratch/figures" "$figures"
    ;;
show)
    printf '%s instructions for an authenticated keep-alive GET (%s profile)\n' "$count" "$profile"
    printf '\nThe whole of the longer life, %s requests and its start:\n' "$((requests + 300))"
    awk '/PROGRAM TOTALS/ { seen = 1 } seen' "$scratch/annotated" | cut -c1-160 | head -n "${TOP:-45}"
    ;;
esac
