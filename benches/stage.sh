# What the benchmarks have in common; sourced, from the root of the repository. Everything is on loopback, on ports that
# were free, below a scratch directory, and gone when the script ends.
# shellcheck shell=bash

die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
says() { printf '%s\n' "$*" >&2; }
needs() {
    local tool
    for tool in "$@"; do command -v "$tool" >/dev/null || die "$tool is missing"; done
}

scratch=$(mktemp -d)
# Servers of which some run as another user read what is in it.
chmod 755 "$scratch"
started=()
# Only what was started here, each by its number.
clean_up() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

free_ports() { # COUNT
    python3 -c '
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
for s in sockets: print(s.getsockname()[1])' "$1"
}

# The file with every @NAME@ filled in.
render() { # FILE NAME=VALUE …
    local text pair
    text=$(<"$1")
    shift
    for pair in "$@"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
    case $text in *@[A-Z]*@*) die "something is not filled in: ${text##*@[A-Z]}" ;; esac
    printf '%s\n' "$text"
}

until_answers() { # URL LOG: waits until somebody answers there, whatever they say
    for _ in $(seq 600); do
        curl -ks -o "$scratch/answer" --max-time 2 "$1" && return
        sleep 0.05
    done
    cat "$2" >&2
    die "nobody answers at $1"
}

nginx() { # NAME CONFIGURATION: a program of its own
    printf '%s\n' "$2" >"$scratch/$1.conf"
    /usr/sbin/nginx -c "$scratch/$1.conf" -e stderr 2>"$scratch/$1.err" &
    started+=($!)
}

# The app: answers at once; below /private only a request that carries an assertion. `echo` is where its WebSockets go.
start_app() { # PORT ECHO_PORT
    head -c 1048576 /dev/zero | tr '\0' x >"$scratch/1m"
    nginx app "$(render benches/peers/app.conf PORT="$1" ECHO="$2" DIR="$scratch" USER="$(id -un)")"
    until_answers "http://127.0.0.1:$1/" "$scratch/app.err"
}

# Vestibule as its documentation says, on a database of its own. Whatever else it is to be run by goes before it:
# RUN='valgrind …'. Its number is in `gateway_pid`.
start_gateway() { # NAME PORT OPS_PORT APP_PORT PROVIDER_PORT [SETTING=VALUE …]
    local name=$1 port=$2 ops=$3 app=$4 provider=$5
    shift 5
    mkdir -p "$scratch/$name"
    # shellcheck disable=SC2086
    env -i PATH="$PATH" VESTIBULE_UPSTREAM="http://127.0.0.1:$app" VESTIBULE_PUBLIC_URL="http://localhost:$port" \
        VESTIBULE_LISTEN="127.0.0.1:$port" VESTIBULE_OPS_LISTEN="127.0.0.1:$ops" VESTIBULE_ACCESS_LOG=false \
        VESTIBULE_DATABASE_URL="sqlite:$scratch/$name/vestibule.db" VESTIBULE_PUBLIC_PATHS='/public/*' \
        VESTIBULE_INITIAL_ADMINS=alice@example.com VESTIBULE_LOG=warn VESTIBULE_LOG_FORMAT=json \
        OIDC_ISSUER="http://127.0.0.1:$provider" OIDC_CLIENT_ID=code-es256 \
        OIDC_CLIENT_SECRET='a secret that only the two of them know' \
        "$@" ${RUN:-} "$binary" serve >"$scratch/$name/out" 2>"$scratch/$name/err" &
    gateway_pid=$!
    started+=("$gateway_pid")
    for _ in $(seq 600); do
        curl -fs "http://127.0.0.1:$ops/readyz" >/dev/null && return
        sleep 0.1
    done
    cat "$scratch/$name/err" >&2
    die "the gateway does not start"
}

stop() { # PID
    local pid left=()
    kill "$1" || die "process $1 has ended by itself"
    wait "$1" || true
    # Its number may soon be somebody else's.
    for pid in "${started[@]}"; do [ "$pid" = "$1" ] || left+=("$pid"); done
    started=("${left[@]}")
}

sign_in() { # PUBLIC_URL PROVIDER_PORT [CA_FILE]: prints the cookies of a person who has signed in there
    node benches/sign-in.mjs "$@" 2>"$scratch/node" || { cat "$scratch/node" >&2; die "nobody could sign in at $1"; }
}

rss() { # PID: its own and its children's, in MB
    local pid total=0 kb
    for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
        kb=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
        total=$((total + kb))
    done
    awk "BEGIN { printf \"%.1f\", $total / 1024 }"
}

# A process's and its children's time on the processors, in clock ticks; also of children that are gone.
ticks() { # PID
    local pid total=0 sum
    for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
        sum=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 + $14 + $15 }')
        total=$((total + sum))
    done
    echo "$total"
}
per_second=$(getconf CLK_TCK)
