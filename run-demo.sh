#!/usr/bin/env bash
# Shows legated at work:   ./run-demo.sh [--serve [PORT]]
#
# Installs what is missing, builds, and starts legated on a temporary socket with a worker that
# serves a small greeter. Then a client calls that greeter through legated in all four shapes, and
# prints a line for each call as either side saw it. Exits 0 if all went well.
#
# The worker is written in Lean, and a client in Lean calls it too, once lake is on the PATH or
# scripts/install-deps.sh --lean has installed what runs Lean without it, which this does unless
# it can't: then the worker is the one in C++.
#
#   --serve [PORT]   leave it running on PORT (any free one by default) until Ctrl-C, and say how to call it
#   --skip-install   do not look for missing packages
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

serve=no
port=0
install=yes
while (($#)); do
  case $1 in
    --serve)
      serve=yes
      if [[ ${2:-} =~ ^[0-9]+$ ]]; then
        port=$2
        shift
      fi
      ;;
    --skip-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) echo "run-demo: unknown argument $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

if [[ $install == yes ]]; then
  scripts/install-deps.sh
  if ! command -v lake >/dev/null && ! scripts/install-deps.sh --lean; then
    echo "run-demo: what runs Lean can't be installed; going on without" >&2
  fi
fi
echo "run-demo: building (a few minutes the first time)"
export NINJA_STATUS='[%f/%t %es] '
if ! configured=$(cmake --preset release 2>&1); then
  printf '%s\n' "$configured" >&2
  exit 1
fi
cmake --build --preset release --target legated legatectl greeter-worker greeter-demo

# How the Lean programs of lean-client/examples are run: natively, interpreted, or not at all.
examples=lean-client/examples
lean=none
if command -v lake >/dev/null; then
  lean=lake
  echo "run-demo: building the Lean client with $(lake --version)"
  (cd lean-client && lake build greeter_server greeter_client)
elif tests/lean/install.sh --check >/dev/null 2>&1; then
  lean=leanw
  echo "run-demo: checking the Lean client (a few minutes the first time)"
  tests/lean/leanw build --root lean-client --out build/lean/library -Dlinter.missingDocs=true Legate
  tests/lean/leanw build --root $examples --out build/lean/examples --path build/lean/library Greeting
fi

# lean_command PROGRAM MODULE [ARGUMENT...]: sets `command` to what runs one of them.
lean_command() {
  local program=$1 module=$2
  shift 2
  if [[ $lean == lake ]]; then
    command=(env LEGATE_SOCKET="$socket" "lean-client/.lake/build/bin/$program" "$@")
  else
    command=(build/bin/legatectl --socket "$socket" attach -- tests/lean/leanw run --root $examples
      --out build/lean/examples --path build/lean/library "$examples/$module.lean" -- "$@")
  fi
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/legated-demo.XXXXXX")
socket=$folder/legated.sock
daemon=
worker=
worker_end=0

# stop PID NAME [STATUS]: asks it to end, and returns 0 if it ended with STATUS (0), else its status.
# Insists after 15 seconds.
stop() {
  local code=0 guard
  kill -TERM "$1" 2>/dev/null || true
  timeout --signal=KILL 15 tail --pid="$1" -s 0.05 -f /dev/null || kill -KILL "$1" 2>/dev/null || true
  wait "$1" || code=$?
  ((code != ${3:-0})) || return 0
  if ((code != 0)); then
    echo "run-demo: $2 ended with status $code when it was asked to stop" >&2
  fi
  return "$code"
}

stop_all() {
  local code=0 pid
  if [[ -n $worker ]]; then
    pid=$worker worker=
    stop "$pid" greeter-worker "$worker_end" || code=1
  fi
  if [[ -n $daemon ]]; then
    pid=$daemon daemon=
    stop "$pid" legated || code=1
  fi
  return "$code"
}

on_exit() {
  local code=$?
  trap '' INT TERM
  stop_all || code=$((code ? code : 1))
  if ((code != 0)); then
    for log in "$folder"/*.log; do
      if [[ -s $log ]]; then
        echo "--- ${log##*/}, its last lines:" >&2
        tail -n 30 "$log" >&2
      fi
    done
  fi
  rm -rf "$folder"
  exit "$code"
}
trap on_exit EXIT

# await PID NAME COMMAND...: waits until COMMAND succeeds, PID ends or two minutes have passed.
await() {
  local pid=$1 name=$2 tries=2400
  shift 2
  until "$@"; do
    if ! kill -0 "$pid" 2>/dev/null || ((--tries == 0)); then
      echo "run-demo: $name did not come up" >&2
      return 1
    fi
    sleep 0.05
  done
}

echo "run-demo: starting legated and a greeter worker"
# In sessions of their own, so that Ctrl-C reaches this script alone and it stops them in order.
# An interpreted program takes seconds from connecting to HELLO.
setsid build/bin/legated run --socket "$socket" --set ipc.hello_timeout=10min >"$folder/legated.log" 2>&1 &
daemon=$!
await "$daemon" legated test -S "$socket"

if [[ $lean == none ]]; then
  command=(build/bin/greeter-worker --socket "$socket" --listen "127.0.0.1:$port" --print-port)
  worker_end=0
else
  protoc --include_imports --descriptor_set_out="$folder/greeter.descriptors" -I examples/greeter greeter.proto
  lean_command greeter_server GreeterServer "127.0.0.1:$port" "$folder/greeter.descriptors"
  worker_end=143 # no Lean program handles SIGTERM
fi
setsid "${command[@]}" >"$folder/greeter-worker.log" 2>&1 </dev/null &
worker=$!
await "$worker" greeter-worker grep -qs '^listening ' "$folder/greeter-worker.log"
port=$(sed -n 's/^listening //p' "$folder/greeter-worker.log")

if [[ $serve == no ]]; then
  if [[ $lean != none ]]; then
    echo "run-demo: a Lean client, through legated, to a Lean worker ($lean)"
    lean_command greeter_client GreeterClient "127.0.0.1:$port"
    if ! "${command[@]}" >"$folder/greeter-client.log" 2>&1 </dev/null; then exit 1; fi
    grep '^ok lean ' "$folder/greeter-client.log"
  fi
  build/bin/greeter-demo --socket "$socket" --port "$port"
  exit
fi

grpcurl=grpcurl
if [[ -x build/bin/grpcurl ]]; then grpcurl=build/bin/grpcurl; fi
grpcurl+=" -plaintext"
service=legated.greeter.v1.Greeter
cat <<TEXT

The greeter listens on 127.0.0.1:$port. Call it from another terminal, in this folder:

  with grpcurl, which learns from the port itself what there is to call
    $grpcurl 127.0.0.1:$port list
    $grpcurl 127.0.0.1:$port describe $service
    $grpcurl 127.0.0.1:$port grpc.health.v1.Health/Check
    $grpcurl -d '{"name":"Ada"}' 127.0.0.1:$port $service/SayHello
    $grpcurl -d '{"name":"Ada"}{"name":"Grace"}' 127.0.0.1:$port $service/CollectHellos
    $grpcurl -d '{"name":"Ada","count":3}' 127.0.0.1:$port $service/ListHellos
    $grpcurl -d '{"name":"Ada"}{"name":"Grace"}' 127.0.0.1:$port $service/Chat

  with Python, all four shapes (packages python3-grpcio and python3-protobuf)
    /usr/bin/python3 examples/greeter/client.py 127.0.0.1:$port Ada Grace

  with legatectl, through legated and back (a HelloRequest with the name Ada, in hexadecimal)
    build/bin/legatectl --socket $socket call 127.0.0.1:$port /$service/SayHello --hex 0a03416461 --out hex
    build/bin/legatectl --socket $socket status

Ctrl-C stops it.
TEXT
trap 'echo; echo "run-demo: stopping"; exit 0' INT TERM
wait -n "$daemon" "$worker" || true
echo "run-demo: legated or its worker ended by itself" >&2
exit 1
