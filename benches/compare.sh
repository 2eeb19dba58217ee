#!/usr/bin/env bash
# What Vestibule costs beside its peers, in front of the same app, in interleaved rounds: CPU a request (utime + stime of
# the whole process tree over the requests it answered), requests a second, latency, memory, ratios round by round.
#
#   benches/compare.sh [--binary FILE] [--rounds N] [--seconds S] [PART …]      target/dist/vestibule, 5, 4, all parts
#
#   get get4 get1000   small GET over kept connections: 64, 4 and 1,000 of them
#   tls                the same over TLS 1.3, 64 connections
#   handshake          a full TLS handshake and one request on each connection
#   down up            an answer and an upload of 1 MB;  down-tls: over TLS 1.3
#   h2                 small GET over HTTP/2 with TLS: 4 connections of 16 streams (h2load)
#   ws                 WebSocket messages, 16 connections
#   idle               memory of 9,000 (IDLE=n) idle connections, plain and TLS
#   calls              system calls of an authenticated GET (strace)
#
# Installs what is missing with apt-get: nginx, HAProxy, Apache with mod_auth_openidc, wrk, h2load. oauth2-proxy takes part
# where it is on the PATH (go install github.com/oauth2-proxy/oauth2-proxy/v7@latest). Needs Node 20 with tests/e2e
# installed (npm ci), Python and OpenSSL. Everything stays on loopback; what is started is ended, what is written removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=target/dist/vestibule rounds=5 seconds=4 parts=()
while [ $# -gt 0 ]; do
    case $1 in
    --binary) binary=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    get | get4 | get1000 | tls | handshake | down | down-tls | up | h2 | ws | idle | calls) parts+=("$1"); shift ;;
    *) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 64 ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=(get get4 get1000 tls handshake down down-tls up h2 ws idle calls)
. benches/stage.sh

install_packages() {
    local missing=()
    [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
    [ -x /usr/sbin/haproxy ] || missing+=(haproxy)
    [ -x /usr/sbin/apache2 ] || missing+=(apache2)
    [ -e /usr/lib/apache2/modules/mod_auth_openidc.so ] || missing+=(libapache2-mod-auth-openidc)
    command -v wrk >/dev/null || missing+=(wrk)
    command -v h2load >/dev/null || missing+=(nghttp2-client)
    command -v strace >/dev/null || missing+=(strace)
    [ ${#missing[@]} -eq 0 ] && return
    says "installing ${missing[*]}"
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    "${root[@]}" apt-get -qq update
    # Nothing of it is to run by itself.
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends \
        "${missing[@]}" >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log" >&2; die "apt-get"; }
}
install_packages
needs node python3 curl openssl wrk h2load
[ -x "$binary" ] || die "$binary is missing: cargo build --profile dist"
binary=$(realpath "$binary")
ulimit -n "$(ulimit -Hn)"

mapfile -t ports < <(free_ports 17)
app=${ports[0]} echo=${ports[1]} provider=${ports[2]}
nginx_plain=${ports[3]} nginx_tls=${ports[4]} nginx_asking=${ports[5]}
haproxy_plain=${ports[6]} haproxy_tls=${ports[7]} apache=${ports[8]} oauth2=${ports[9]}
quiet=${ports[10]} logging=${ports[12]} tls=${ports[14]}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$scratch/server.key" -out "$scratch/server.pem" 2>/dev/null
cat "$scratch/server.pem" "$scratch/server.key" >"$scratch/both.pem"

start_app "$app" "$echo"
app_pid=${started[-1]}
python3 benches/load.py echo "$echo" &
started+=($!)
filled=(APP="$app" DIR="$scratch" USER="$(id -un)" PROVIDER="$provider" SECRET="$(openssl rand -hex 16)")
nginx nginx "$(render benches/peers/nginx.conf "${filled[@]}" PLAIN="$nginx_plain" TLS="$nginx_tls" ASKING="$nginx_asking")"
nginx_pid=${started[-1]}
until_answers "http://127.0.0.1:$nginx_plain/" "$scratch/nginx.err"
render benches/peers/haproxy.cfg "${filled[@]}" PLAIN="$haproxy_plain" TLS="$haproxy_tls" >"$scratch/haproxy.cfg"
/usr/sbin/haproxy -db -f "$scratch/haproxy.cfg" >"$scratch/haproxy.err" 2>&1 &
started+=($!)
haproxy_pid=$!
until_answers "http://127.0.0.1:$haproxy_plain/" "$scratch/haproxy.err"
start_gateway quiet "$quiet" "${ports[11]}" "$app" "$provider"
quiet_pid=$gateway_pid
start_gateway logging "$logging" "${ports[13]}" "$app" "$provider" VESTIBULE_ACCESS_LOG=true
logging_pid=$gateway_pid
start_gateway tls "$tls" "${ports[15]}" "$app" "$provider" VESTIBULE_PUBLIC_URL="https://localhost:$tls" \
    VESTIBULE_TLS_CERT="$scratch/server.pem" VESTIBULE_TLS_KEY="$scratch/server.key"
tls_pid=$gateway_pid
sleep 2
rss_idle=$(rss "$quiet_pid")
quiet_cookie=$(sign_in "http://localhost:$quiet" "$provider")
logging_cookie=$(sign_in "http://localhost:$logging" "$provider")
tls_cookie=$(sign_in "https://localhost:$tls" "$provider" "$scratch/server.pem")

# These two begin when their provider can be asked: it is there while somebody signs in.
provider_is_there() { curl -fs "http://127.0.0.1:$provider/.well-known/openid-configuration" -o "$scratch/answer"; }
start_apache() {
    render benches/peers/apache.conf "${filled[@]}" PLAIN="$apache" >"$scratch/apache.conf"
    /usr/sbin/apache2 -f "$scratch/apache.conf" -DFOREGROUND >"$scratch/apache.err" 2>&1 &
    started+=($!)
    apache_pid=$!
    apache_cookie=$(sign_in "http://localhost:$apache" "$provider") || { cat "$scratch/apache.err" >&2; die "Apache"; }
}
start_oauth2_proxy() {
    render benches/peers/oauth2-proxy.cfg "${filled[@]}" PLAIN="$oauth2" >"$scratch/oauth2-proxy.cfg"
    (until provider_is_there; do sleep 0.05; done
        exec oauth2-proxy --config "$scratch/oauth2-proxy.cfg" >"$scratch/oauth2.err" 2>&1) &
    started+=($!)
    oauth2_pid=$!
    oauth2_cookie=$(sign_in "http://localhost:$oauth2" "$provider") || { cat "$scratch/oauth2.err" >&2; die "oauth2-proxy"; }
}
case " ${parts[*]} " in
*' get '* | *' get4 '* | *' get1000 '*)
    start_apache
    if command -v oauth2-proxy >/dev/null; then start_oauth2_proxy; else says "oauth2-proxy is not on the PATH: it takes no part"; fi
    ;;
esac

# One run of one case: how much of the processors PID's tree used, and what the load says.
measure() { # PART NAME ROUND PID COMMAND …
    local part=$1 name=$2 round=$3 pid=$4 before after result
    shift 4
    before=$(ticks "$pid")
    result=$("$@" | grep '^RESULT') || die "$part, $name: the load failed"
    sleep 0.2
    after=$(ticks "$pid")
    # shellcheck disable=SC2086
    set -- $result
    [ "$6 $7" = "0 0" ] || says "$part, $name: $6 answers were not good, $7 connections failed"
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$round" "$(awk "BEGIN { print ($after - $before) / $per_second }")" \
        "$2" "$3" "$4" "$5" "$(rss "$pid")" >>"$scratch/runs-$part"
}

with_wrk() { # CONNECTIONS SCRIPT SCHEME PORT PATH COOKIE
    local headers=(-H "Host: localhost:$4")
    [ -z "$6" ] || headers+=(-H "Cookie: $6")
    wrk -t1 -c"$1" -d"${seconds}s" --timeout 10s -s "benches/$2" "${headers[@]}" "$3://127.0.0.1:$4$5"
}
with_h2load() { # PORT PATH COOKIE
    local headers=()
    [ -z "$3" ] || headers=(-H "cookie: $3")
    rm -f "$scratch/h2log"
    h2load -t1 -c4 -m16 -D "$seconds" --log-file="$scratch/h2log" "${headers[@]}" "https://localhost:$1$2" >"$scratch/h2load" || return
    python3 benches/h2log.py "$scratch/h2log" "$seconds"
}

rows() { # PART ROUND: the cases of a part
    local part=$1 round=$2 path=/public/x private=/private/x connections=64 script=report.lua
    case $part in
    get4) connections=4 ;;
    get1000) connections=1000 ;;
    down | down-tls) connections=16 path=/public/1m private=/private/1m ;;
    up) connections=16 script=upload.lua ;;
    esac
    case $part in
    get | get4 | get1000 | down | up)
        local get=(with_wrk "$connections" "$script" http)
        measure "$part" 'nginx, plain proxy' "$round" "$nginx_pid" "${get[@]}" "$nginx_plain" "$path" ''
        measure "$part" 'Vestibule, session' "$round" "$quiet_pid" "${get[@]}" "$quiet" "$private" "$quiet_cookie"
        measure "$part" 'Vestibule, public path' "$round" "$quiet_pid" "${get[@]}" "$quiet" "$path" ''
        measure "$part" 'HAProxy, plain proxy' "$round" "$haproxy_pid" "${get[@]}" "$haproxy_plain" "$path" ''
        case $part in get*)
            measure "$part" 'Vestibule, session, access log' "$round" "$logging_pid" "${get[@]}" "$logging" "$private" "$logging_cookie"
            measure "$part" 'nginx, auth_request to a 204' "$round" "$nginx_pid" "${get[@]}" "$nginx_asking" "$path" ''
            measure "$part" 'Apache, mod_auth_openidc, session' "$round" "$apache_pid" "${get[@]}" "$apache" "$path" "$apache_cookie"
            [ -z "${oauth2_pid:-}" ] \
                || measure "$part" 'oauth2-proxy, session' "$round" "$oauth2_pid" "${get[@]}" "$oauth2" "$path" "$oauth2_cookie"
            measure "$part" 'the app itself' "$round" "$app_pid" "${get[@]}" "$app" "$path" ''
            ;;
        esac
        ;;
    tls | down-tls)
        local get=(with_wrk "$connections" "$script" https)
        measure "$part" 'nginx, TLS' "$round" "$nginx_pid" "${get[@]}" "$nginx_tls" "$path" ''
        measure "$part" 'Vestibule, TLS, session' "$round" "$tls_pid" "${get[@]}" "$tls" "$private" "$tls_cookie"
        measure "$part" 'HAProxy, TLS' "$round" "$haproxy_pid" "${get[@]}" "$haproxy_tls" "$path" ''
        ;;
    handshake)
        local shake=(python3 benches/load.py handshakes)
        measure "$part" 'nginx, TLS' "$round" "$nginx_pid" "${shake[@]}" "$nginx_tls" "$seconds" '' "$scratch/server.pem"
        measure "$part" 'Vestibule, TLS, session' "$round" "$tls_pid" "${shake[@]}" "$tls" "$seconds" "$tls_cookie" "$scratch/server.pem"
        measure "$part" 'HAProxy, TLS' "$round" "$haproxy_pid" "${shake[@]}" "$haproxy_tls" "$seconds" '' "$scratch/server.pem"
        ;;
    h2)
        measure "$part" 'nginx, HTTP/2' "$round" "$nginx_pid" with_h2load "$nginx_tls" "$path" ''
        measure "$part" 'Vestibule, HTTP/2, session' "$round" "$tls_pid" with_h2load "$tls" "$private" "$tls_cookie"
        measure "$part" 'HAProxy, HTTP/2' "$round" "$haproxy_pid" with_h2load "$haproxy_tls" "$path" ''
        ;;
    ws)
        local talk=(python3 benches/load.py messages)
        measure "$part" 'nginx, plain proxy' "$round" "$nginx_pid" "${talk[@]}" "$nginx_plain" "$seconds" ''
        measure "$part" 'Vestibule, session' "$round" "$quiet_pid" "${talk[@]}" "$quiet" "$seconds" "$quiet_cookie"
        measure "$part" 'HAProxy, plain proxy' "$round" "$haproxy_pid" "${talk[@]}" "$haproxy_plain" "$seconds" ''
        ;;
    esac
}

title() { # PART
    case $1 in
    get) echo 'Small GET, keep-alive, 64 connections' ;;
    get4) echo 'Small GET, keep-alive, 4 connections' ;;
    get1000) echo 'Small GET, keep-alive, 1,000 connections' ;;
    tls) echo 'Small GET over TLS 1.3, keep-alive, 64 connections' ;;
    handshake) echo 'A full TLS 1.3 handshake and one request a connection (ECDSA P-256)' ;;
    down) echo 'Answers of 1 MB, 16 connections' ;;
    down-tls) echo 'Answers of 1 MB over TLS 1.3, 16 connections' ;;
    up) echo 'Uploads of 1 MB, 16 connections' ;;
    h2) echo 'Small GET over HTTP/2 with TLS, 4 connections of 16 streams' ;;
    ws) echo 'WebSocket messages of 64 bytes there and back, 16 connections' ;;
    esac
}

# What COUNT idle connections add to a process's memory, in kB each. Apart from the rounds: memory has no spread.
idle_row() { # NAME PID PORT COOKIE CA
    local name=$1 pid=$2 before after count=${IDLE:-9000}
    before=$(rss "$pid")
    coproc holding { python3 benches/load.py idle "$3" $count "$4" ${5:+"$5"}; }
    # shellcheck disable=SC2154
    local their_pid=$holding_PID line
    read -r line <&"${holding[0]}" || die "$name: not all connections were taken"
    sleep 1
    after=$(rss "$pid")
    kill "$their_pid"
    wait "$their_pid" 2>/dev/null || true
    awk "BEGIN { printf \"| %s | %.1f | %.1f |\n\", \"$name\", ($after - $before) * 1024 / $count, $after }"
    sleep 1
}
idle() {
    printf '\n%s connections that have made one request and idle\n\n| | kB each | RSS in all, MB |\n|---|---|---|\n' "${IDLE:-9000}"
    idle_row 'nginx, plain' "$nginx_pid" "$nginx_plain" ''
    idle_row 'Vestibule, plain, session' "$quiet_pid" "$quiet" "$quiet_cookie"
    idle_row 'nginx, TLS' "$nginx_pid" "$nginx_tls" '' "$scratch/server.pem"
    idle_row 'Vestibule, TLS, session' "$tls_pid" "$tls" "$tls_cookie" "$scratch/server.pem"
}

# System calls while 1,000 requests go over one connection, one after the other, less those of the same time without.
calls() {
    printf '\nSystem calls of 1,000 authenticated GETs over one connection, one after the other\n\n'
    strace -f -c -U name,calls -e signal=none -p "$quiet_pid" -o "$scratch/strace" &
    local tracer=$!
    sleep 1
    python3 - "$quiet" "$quiet_cookie" <<'PY'
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for _ in range(1000):
    connection.request("GET", "/private/x", headers={"Host": f"localhost:{sys.argv[1]}", "Cookie": sys.argv[2]})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
PY
    kill -INT "$tracer"
    wait "$tracer" || true
    printf '| call | calls |\n|---|---|\n'
    awk '$2 ~ /^[0-9]+$/ && $1 != "total" && $2 >= 100 { printf "| %s | %s |\n", $1, $2 }' "$scratch/strace"
}

printf '%s, %s cores, load %s at the start, %s rounds of %s s, medians (least–most)\n' \
    "$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //')" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" "$rounds" "$seconds"
for part in "${parts[@]}"; do
    case $part in
    idle | calls) "$part"; continue ;;
    esac
    # Round 0 warms up.
    for round in $(seq 0 "$rounds"); do
        rows "$part" "$round"
        says "$part: round $round of $rounds, load $(cut -d' ' -f1 /proc/loadavg)"
    done
    printf '\n%s\n\n' "$(title "$part")"
    awk -F'\t' '$2 > 0' "$scratch/runs-$part" | python3 benches/medians.py
done
printf '\nMemory of Vestibule: %s MB idle after its start, %s MB at the end.\n' "$rss_idle" "$(rss "$quiet_pid")"
