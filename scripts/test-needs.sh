#!/usr/bin/env bash
# Makes sure that what the tests need beside Python is there. As root on Debian or Ubuntu it is installed and started;
# otherwise this says what is missing and fails.
set -euo pipefail

cd "$(dirname "$0")/.."

declare -A package_of=([bwrap]=bubblewrap [redis-server]=redis-server [curl]=curl)
missing=()
for tool in "${!package_of[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package_of[$tool]}")
done
if [[ ${#missing[@]} -gt 0 ]]; then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "test-needs.sh: missing: ${missing[*]}; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  apt-get update -qq
  # The tests start servers of their own on free ports; the package must not start one.
  guard=/usr/sbin/policy-rc.d
  if [[ ! -e $guard ]]; then
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod +x $guard
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

scripts/dockerd.sh
scripts/sandbox-image.sh
