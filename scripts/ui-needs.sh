#!/usr/bin/env bash
# Makes sure that what building and testing the pages needs is there: Node, Chromium, fonts for the screenshots, and the
# packages of solver/espalier/solver/viewer/web. As root on Debian or Ubuntu it is installed; otherwise this says what is missing and fails.
set -euo pipefail

cd "$(dirname "$0")/.."

missing=()
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
[[ -x /usr/bin/chromium ]] || missing+=(chromium fonts-inter fonts-jetbrains-mono fonts-stix)
if [[ ${#missing[@]} -gt 0 ]]; then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "ui-needs.sh: missing: ${missing[*]}; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)'; then
  echo "ui-needs.sh: Node 18 or newer is needed, this is $(node --version)" >&2
  exit 1
fi

scripts/redis.sh

cd solver/espalier/solver/viewer/web
if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
  echo "Installing the packages of solver/espalier/solver/viewer/web"
  npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
fi
