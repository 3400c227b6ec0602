#!/usr/bin/env bash
# Regenerates peerpb/ and greeterpb/. Needed only after a .proto changed; run it by hand.
set -euo pipefail
cd "$(dirname "$0")"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.31.0
GOBIN=$tools go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0

generate() { # generate FOLDER FILE PACKAGE
  mkdir -p "$3"
  PATH=$tools:$PATH protoc -I "$1" "$2" \
    --go_out="$3" --go_opt=paths=source_relative,"M$2=legated/tests/peers/$3" \
    --go-grpc_out="$3" --go-grpc_opt=paths=source_relative,"M$2=legated/tests/peers/$3"
}
generate .. peer.proto peerpb
generate ../../../examples/greeter greeter.proto greeterpb
