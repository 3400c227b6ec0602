#!/usr/bin/env bash
# Installs what legated needs on Debian 12:   scripts/install-deps.sh [--tests] [--lean] [--check]
#
#   --tests   what the tests need, too
#   --lean    what runs the Lean library where there is no Lean toolchain (860 MB); part of --tests
#   --check   say what is missing, install nothing
#
# Uses the network only when something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(
  g++ cmake ninja-build pkg-config ccache
  libgrpc-dev libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  libflatbuffers-dev flatbuffers-compiler
  libspdlog-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libsystemd-dev libjwt-dev libssl-dev openssl zlib1g-dev
  libgtest-dev libgmock-dev
)
test_packages=(
  clang-19 libclang-rt-19-dev # the first clang of Debian 12 that takes all C++20 that its g++ takes
  python3 python3-grpcio python3-protobuf python3-flatbuffers python3-pytest
  strace ca-certificates
)

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Any Go from 1.19 on will do; Debian's is taken when there is none.
have_go() {
  local version
  version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
  [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 19))
}

# Any npm from 9 on will do; Debian's is taken when there is none.
have_npm() {
  local version
  version=$(npm --version 2>/dev/null) || return 1
  ((${version%%.*} >= 9))
}

installed() {
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

check_only=no
lean_runner=no
wanted=("${packages[@]}")
for argument in "$@"; do
  case $argument in
    --tests)
      wanted+=("${test_packages[@]}")
      have_go || wanted+=(golang-go)
      lean_runner=yes
      ;;
    --lean) lean_runner=yes ;;
    --check) check_only=yes ;;
    -h | --help) usage; exit 0 ;;
    *) echo "install-deps: unknown argument $argument" >&2; usage >&2; exit 2 ;;
  esac
done

if [[ $lean_runner == yes ]]; then
  have_npm || wanted+=(nodejs npm)
fi

# What checks and runs the Lean library is not Debian's, and lives in the tree. Uses npm.
install_lean_runner() {
  [[ $lean_runner == yes ]] || return 0
  if [[ $check_only == yes ]]; then
    tests/lean/install.sh --check
  else
    tests/lean/install.sh
  fi
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install-deps: this is no Debian; install by hand what Debian 12 calls: ${wanted[*]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install-deps: all ${#wanted[@]} packages are there"
  install_lean_runner
  exit 0
fi
echo "install-deps: missing: ${missing[*]}"
[[ $check_only == no ]] || exit 1

as_root=()
if ((EUID != 0)); then
  as_root=(sudo)
  if ! command -v sudo >/dev/null || ! { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    echo "install-deps: can't become root here. As root, run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
fi

apt() { # quiet unless it fails
  local log
  log=$(mktemp)
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

echo "install-deps: installing ${#missing[@]} packages and what they need"
apt update || echo "install-deps: the package lists could not be refreshed; going on with those at hand" >&2
if ! apt install -y --no-install-recommends "${missing[@]}"; then
  echo "install-deps: the installation failed, see above; the packages wanted: ${missing[*]}" >&2
  exit 1
fi
install_lean_runner
echo "install-deps: done"
