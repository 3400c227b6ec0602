#!/usr/bin/env bash
# Installs the packages that leanw needs, exactly those of package-lock.json, and prepares them:
# about 500 MB and 360 MB under node_modules/. Does nothing, and needs no network, when they are there.
#
#   --check   say whether they are, install nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stamp=node_modules/.installed
if ! cmp -s package-lock.json "$stamp"; then
  echo "lean/install: the packages of tests/lean/package-lock.json are missing"
  [[ ${1:-} != --check ]] || exit 1
  # None of them needs an install script. npm names the reason when it fails.
  npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier
  cp package-lock.json "$stamp"
fi
[[ ${1:-} == --check ]] || ./leanw setup
