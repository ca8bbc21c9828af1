#!/usr/bin/env bash
# Types and unit tests of the pages; and the bundle that is committed must be what its sources make.
set -euo pipefail

cd "$(dirname "$0")/../solver/espalier/solver/viewer/web"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

npm run --silent check
npm test --silent
node build.mjs "$fresh"
if ! diff -rq "$fresh" ../static; then
  echo "ui-check.sh: solver/espalier/solver/viewer/static is not what solver/espalier/solver/viewer/web makes; run: make ui" >&2
  exit 1
fi
