#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test:   ./run-tests.sh [OPTION...]
#
#   --quick          skip the sanitizers (asan, tsan)
#   --only STAGE     run this stage only; may be repeated
#   --filter REGEX   of the suite's tests, run only those whose name matches
#   --jobs N         build and test with N jobs; as many as there are processors by default
#   --skip-install   do not look for missing packages
#
# Stages, in order:
#   suite    all that ctest knows: unit and integration tests, in C++ and Python
#   peers    the test peers against each other, without legated
#   lean     the Lean library: checked, unit tests, and end to end against the daemon
#   fuzz     each fuzz target for a short while
#   asan     the suite with AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan     the suite with ThreadSanitizer
#
# At the end the last lines of every failed test are repeated, and the last line of all is "N passed, N failed".
# Exits 0 if a test ran and none failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

stages=(suite peers lean fuzz asan tsan)
only=()
filter=()
jobs=$(nproc)
install=yes
while (($#)); do
  case $1 in
    --quick) stages=(suite peers lean fuzz) ;;
    --only | --filter | --jobs)
      (($# > 1)) || { echo "run-tests: $1 needs a value" >&2; exit 2; }
      case $1 in
        --only)
          [[ " suite peers lean fuzz asan tsan " == *" $2 "* ]] || { echo "run-tests: no stage $2" >&2; exit 2; }
          only+=("$2")
          ;;
        --filter) filter=(--tests-regex "$2") ;;
        --jobs) jobs=$2 ;;
      esac
      shift
      ;;
    --skip-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) echo "run-tests: unknown argument $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
((${#only[@]} == 0)) || stages=("${only[@]}")

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"
failures=$results/failures.txt
: >"$failures"
export NINJA_STATUS='[%f/%t %es] '
export PYTHONDONTWRITEBYTECODE=1

passed=0
failed=0
summary=()

say() { printf '\n=== %s (%d:%02d) ===\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

# count NAME EXIT_CODE: adds what the runner wrote to NAME.xml. A runner that failed without naming
# a failed test counts as one failure.
count() {
  local good=0 bad=0 skipped=0 names=
  if [[ -s $results/$1.xml ]]; then
    read -r good bad skipped names < <(/usr/bin/python3 - "$results/$1.xml" "$1" 2>>"$failures" <<'PYTHON'
import sys
import xml.etree.ElementTree as ElementTree
total = dict.fromkeys(("tests", "failures", "errors", "skipped", "disabled"), 0)
root = ElementTree.parse(sys.argv[1]).getroot()
for suite in root.iter("testsuite"):
    for key in total:
        total[key] += int(suite.get(key, 0))
bad = total["failures"] + total["errors"]
skipped = total["skipped"] + total["disabled"]
names = []
for case in root.iter("testcase"):
    why = [found for kind in ("failure", "error") if (found := case.find(kind)) is not None]
    if why:
        names.append(case.get("name"))
        said = "".join(part.text or "" for part in (*why, *case.findall("system-out")))
        print(f"\n--- {sys.argv[2]}: {names[-1]}", *said.splitlines()[-60:], sep="\n", file=sys.stderr)
print(total["tests"] - bad - skipped, bad, skipped, *names)
PYTHON
    ) || true # a runner that was killed leaves half a file
  fi
  if (($2 != 0 && bad == 0)); then
    bad=1
    names="the runner itself, with exit status $2"
  fi
  ((passed += good, failed += bad)) || true
  summary+=("$(printf '%-12s %5d passed %5d failed %5d skipped' "$1" "$good" "$bad" "$skipped")")
  if [[ -n $names ]]; then
    summary+=("$(printf '%-12s failed: %s' "" "$names")")
  fi
}

# count_step NAME: a step that is no test failed.
count_step() {
  ((failed += 1))
  summary+=("$(printf '%-12s FAILED' "$1")")
}

# build PRESET: configures and builds, once.
declare -A built
build() {
  if [[ -z ${built[$1]:-} ]]; then
    say "build: $1"
    built[$1]=no
    if cmake --preset "$1" && "${under[@]}" cmake --build --preset "$1" --parallel "$jobs"; then
      built[$1]=yes
    else
      count_step "build $1"
    fi
  fi
  [[ ${built[$1]} == yes ]]
}

build_peers() {
  if [[ -z ${built[peers]:-} ]]; then
    say "build: peers"
    built[peers]=no
    if tests/peers/build.sh; then
      built[peers]=yes
    else
      count_step "build peers"
    fi
  fi
  [[ ${built[peers]} == yes ]]
}

# run_ctest NAME PRESET [OPTION...]
run_ctest() {
  local name=$1 preset=$2 code=0
  shift 2
  say "test: $name"
  timeout --kill-after=30 1500 \
    "${under[@]}" ctest --preset "$preset" --parallel "$jobs" --output-junit "$results/$name.xml" "$@" || code=$?
  count "$name" "$code"
}

run_peers() {
  local code=0
  say "test: peers"
  timeout --kill-after=30 600 \
    /usr/bin/python3 -m pytest -p no:cacheprovider --junitxml="$results/peers.xml" tests/peers || code=$?
  count peers "$code"
}

install_lean() {
  tests/lean/install.sh || { count_step "install lean"; return 1; }
}

# The Lean library by leanw, and by Lake as well where a toolchain is found.
run_lean() {
  local code=0
  say "test: lean"
  echo "lean: leanw runs $(tests/lean/leanw lean --version)"
  echo "lean: $(lake --version 2>/dev/null || echo "there is no lake on the PATH, so it builds nothing here")"
  timeout --kill-after=30 1500 \
    /usr/bin/python3 -m pytest -p no:cacheprovider --junitxml="$results/lean.xml" tests/lean || code=$?
  count lean "$code"
}

# These compilers' sanitizers can't take as much address randomisation as some kernels apply; a
# container may forbid turning it off.
under=()
fixed_addresses=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
  fixed_addresses=(setarch "$(uname -m)" -R)
fi

if [[ $install == yes ]]; then
  say "packages"
  scripts/install-deps.sh --tests
fi

for stage in "${stages[@]}"; do
  case $stage in
    fuzz | asan | tsan) under=("${fixed_addresses[@]}") ;;
    *) under=() ;;
  esac
  case $stage in
    suite) if build ci && build_peers; then run_ctest suite ci "${filter[@]}"; fi ;;
    peers) if build_peers; then run_peers; fi ;;
    lean) if install_lean && build ci && build_peers; then run_lean; fi ;;
    fuzz) if build fuzz; then run_ctest fuzz fuzz; fi ;;
    asan | tsan) if build "$stage" && build_peers; then run_ctest "$stage" "$stage" "${filter[@]}"; fi ;;
  esac
done

if [[ -s $failures ]]; then
  say "failed tests"
  cat "$failures"
fi
say "summary"
printf '%s\n' "${summary[@]}"
if ((passed + failed == 0)); then
  echo "no test ran" >&2
fi
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
