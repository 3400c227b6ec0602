#!/usr/bin/env bash
# Builds the Go peers, grpcurl, and the interop programs of the Go project:
#   tests/peers/build.sh [FOLDER]     (build/bin by default)
# Does nothing when they are newer than their sources. Needs the network only while a module is
# missing from Go's module cache.
set -euo pipefail
cd "$(dirname "$0")/../.."

mkdir -p "${1:-build/bin}"
out=$(cd "${1:-build/bin}" && pwd)
programs=(peer-server peer-client health-client grpcurl interop/server interop/client)

up_to_date() {
  for program in "${programs[@]}"; do
    [[ -x $out/$program ]] || return 1
    [[ -z $(find tests/peers/go \( -name '*.go' -o -name 'go.*' \) -newer "$out/$program" -print -quit) ]] || return 1
  done
}

if up_to_date; then
  echo "peers: up to date in $out"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "peers: Go is missing; scripts/install-deps.sh --tests installs it" >&2
  exit 1
fi

echo "peers: building ${programs[*]} with $(go version | cut -d' ' -f3)"
cd tests/peers/go
export GOTOOLCHAIN=local
build() { go build -mod=readonly -buildvcs=false -trimpath -ldflags='-s -w' -o "$@"; }
build "$out/" ./cmd/peer-server ./cmd/peer-client ./cmd/health-client github.com/fullstorydev/grpcurl/cmd/grpcurl
build "$out/interop/" google.golang.org/grpc/interop/server google.golang.org/grpc/interop/client
touch "${programs[@]/#/$out/}"
