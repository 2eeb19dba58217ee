#!/usr/bin/env bash
# h2spec against target/debug/vestibule, with prior knowledge and over TLS, on a public path before a plain app.
# usage: tests/h2spec.sh PATH-OF-H2SPEC
set -euo pipefail
h2spec=$1
binary=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target/debug/vestibule
scratch=$(mktemp -d)
running=()
cleanup() {
    for process in "${running[@]}"; do kill "$process" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap cleanup EXIT
cd "$scratch"

# Prints a line when it is ready: its own port, and two that are free.
node -e '
const http = require("http");
const listen = (handler) => new Promise((ready) => {
  const server = http.createServer(handler).listen(0, "127.0.0.1", () => ready(server));
});
(async () => {
  const app = await listen((request, response) => { request.resume(); response.end("from app"); });
  const free = [await listen(), await listen()];
  const ports = [app, ...free].map((server) => server.address().port);
  for (const server of free) await new Promise((closed) => server.close(closed));
  console.log(ports.join(" "));
})();' >ports &
running+=($!)
until [ -s ports ]; do sleep 0.1; done
read -r app port ops <ports
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem 2>/dev/null

# against TITLE [SETTING=VALUE...] -- [OPTION OF H2SPEC...]
against() {
    local settings=() gateway
    echo "h2spec: $1"
    shift
    while [ "$1" != -- ]; do
        settings+=("$1")
        shift
    done
    shift
    env -i PATH="$PATH" VESTIBULE_LISTEN=127.0.0.1:"$port" VESTIBULE_OPS_LISTEN=127.0.0.1:"$ops" VESTIBULE_LOG=warn \
        VESTIBULE_UPSTREAM=http://127.0.0.1:"$app" VESTIBULE_PUBLIC_PATHS='/public/*' VESTIBULE_ACCESS_LOG=false \
        VESTIBULE_DATABASE_URL=sqlite:"$scratch"/vestibule.db OIDC_ISSUER=http://127.0.0.1:9 OIDC_CLIENT_ID=none \
        "${settings[@]}" "$binary" >log 2>&1 &
    gateway=$!
    running+=("$gateway")
    for _ in $(seq 100); do
        (: <>/dev/tcp/127.0.0.1/"$port") 2>/dev/null && break
        kill -0 "$gateway" 2>/dev/null || { cat log >&2; exit 1; }
        sleep 0.1
    done
    "$h2spec" -h localhost -p "$port" -P /public/x -o 5 "$@" >result 2>&1 || { cat result >&2; exit 1; }
    tail -n 2 result
    # Nothing that a client sends may end it.
    kill -0 "$gateway" || { cat log >&2; exit 1; }
    kill "$gateway"
    wait "$gateway"
}

# All but http2/3.5/2: on a port without TLS what does not begin with the preface is HTTP/1.1, and is answered so.
against "prior knowledge" VESTIBULE_PUBLIC_URL=http://localhost:"$port" -- \
    generic http2/3.5/1 http2/4 http2/5 http2/6 http2/7 http2/8 hpack
against "TLS" VESTIBULE_PUBLIC_URL=https://localhost:"$port" VESTIBULE_TLS_CERT="$scratch"/certificate.pem \
    VESTIBULE_TLS_KEY="$scratch"/key.pem -- -t -k
