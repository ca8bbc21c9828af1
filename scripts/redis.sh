#!/usr/bin/env bash
# Install redis-server when it is missing (Debian and Ubuntu, as root). Tests and benchmarks start servers of their own.
set -euo pipefail

if command -v redis-server >/dev/null; then
  redis-server --version
  exit 0
fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "redis: redis-server 7 is missing; install it with your package manager (Debian: apt-get install redis-server)" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends redis-server >/dev/null
redis-server --version
