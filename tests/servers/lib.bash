# Sourced by the services beside this file, each of which defines start, stop, crash and url, then calls serve.
#
# A service starts its own copy on a free port of 127.0.0.1 with its own data directory and prints its URL as one
# line on stdout. It lives until its stdin ends, so whoever holds the pipe owns it: also an owner that is killed leaves
# neither process nor directory behind. Until then the lines stop, crash and start on stdin do what they say, on the
# same port and directory; each is answered by a line on stdout: stopped, crashed, started.
# shellcheck shell=bash
set -euo pipefail
PATH=$PATH:/usr/sbin

# Where initdb and postgres are; PGBIN overrules.
postgres_bin() {
    local bin newest=
    for bin in /usr/lib/postgresql/*/bin; do [[ -x $bin/initdb ]] && newest=$bin; done
    bin=$(command -v initdb) && bin=$(dirname "$(readlink -f "$bin")")
    echo "${PGBIN:-${bin:-$newest}}"
}

# Where the broker from PyPI is, or is to be.
kafka_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/noida-db-0.2.3
kafka_broker() {
    local broker=$kafka_directory/noida_db/noida-db
    [[ ! -x $broker ]] || echo "$broker"
}

# Where Apache Kafka's jars are, or are to be.
apache_kafka_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/apache-kafka-4.3.1
apache_kafka() { [[ ! -e $apache_kafka_directory/complete ]] || echo "$apache_kafka_directory"; }

# Where MariaDB's replication in a cluster is.
galera_provider() { ls /usr/lib/galera/libgalera_smm.so 2>/dev/null || true; }

# Where axe-core is.
axe_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/axe-core-4.14.1

# Where cargo-deny is; the generators of clients, with what their clients import; the schemas of manifests; and
# schemathesis.
cargo_deny_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/cargo-deny-0.20.2
clients_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/clients-1
manifests_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/manifests-1
schemathesis_directory=${XDG_CACHE_HOME:-$HOME/.cache}/feebox/schemathesis-4.32.5

# prepare NAME USER: makes $directory and settles who runs the commands: root hands over to USER, since these servers
# refuse to run as root.
prepare() {
    trap '' INT HUP PIPE # the end of stdin is the one signal to stop: a Ctrl-C reaches the owner, and so us
    trap finish EXIT
    trap 'exit 1' TERM
    directory=$(mktemp -d "${TMPDIR:-/tmp}/feebox-$1.XXXXXX")
    pid=
    run_as=()
    if ((EUID == 0)); then
        chown "$2" "$directory"
        run_as=(setpriv "--reuid=$2" "--regid=$2" --clear-groups env "HOME=$directory" "TMPDIR=$directory")
    fi
}

# missing NAME VARIABLE: the one sentence for a machine without the service.
missing() {
    echo "$1 is not installed: run tests/servers/install $1${2:+, or name a running server in $2}." >&2
    exit 1
}

# run COMMAND…: must succeed; its output goes to the log.
run() { "${run_as[@]}" "$@" >>"$directory/log" 2>&1 || fail; }

# launch COMMAND…: in the background, as the process $pid.
launch() {
    "${run_as[@]}" "$@" >>"$directory/log" 2>&1 &
    pid=$!
}

# Below the range for outgoing connections, and locked as long as this service lives: nobody is given the port while nothing
# listens on it.
choose_port() {
    until port=$((20000 + RANDOM % 10000)) && lock_port && ! port_answers; do :; done
}

lock_port() {
    local locks=${TMPDIR:-/tmp}/ports-of-$EUID lock
    mkdir -p "$locks"
    exec {lock}>"$locks/$port"
    flock --nonblock "$lock" || ! exec {lock}>&-
}

port_answers() { (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

# wait_ready COMMAND…: until COMMAND succeeds; fails if the process $pid ends or 60 s pass.
wait_ready() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# end_process SIGNAL
end_process() {
    kill -s "$1" "$pid" 2>/dev/null || return 0
    { wait "$pid" || true; } 2>/dev/null # where bash would report the signal
}

fail() {
    tail -n 20 "$directory/log" >&2
    exit 1
}

finish() {
    crash &>/dev/null || true
    rm -rf "$directory"
}

serve() {
    local line tries=5
    until choose_port && start; do
        ((--tries)) || fail
    done
    url
    while read -r line; do
        case $line in
        stop) stop || fail && echo stopped ;;
        crash) crash || fail && echo crashed ;;
        start) start || fail && echo started ;;
        *) echo "unknown: $line" >&2 ;;
        esac
    done
}
