#!/usr/bin/env bash
# Makes sure that what the tests need beside Python is there: bubblewrap, g++, Redis, Docker with compose, and the sandbox
# images. As root on Debian or Ubuntu it is installed and started; otherwise this says what is missing and fails.
set -euo pipefail

cd "$(dirname "$0")/.."

missing=()
command -v bwrap >/dev/null || missing+=(bubblewrap)
command -v curl >/dev/null || missing+=(curl)
command -v g++ >/dev/null || missing+=(g++) # torch compiles what two ranks of SGLang run on a CPU
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || missing+=(docker-compose)
if [[ ${#missing[@]} -gt 0 ]]; then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "test-needs.sh: missing: ${missing[*]}; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

scripts/redis.sh
scripts/dockerd.sh
scripts/sandbox-image.sh python cpp javascript go java rust
