#!/usr/bin/env bash
# Makes sure that a Docker daemon answers: uses the one that runs, otherwise (root on Debian, with or without systemd)
# installs docker.io if it is missing and starts a daemon without networking. Idempotent.
#
#   scripts/dockerd.sh          start, wait until ready
#   scripts/dockerd.sh stop     stop the daemon that this script started
set -euo pipefail

state=${ESPALIER_DOCKERD_STATE:-/var/lib/espalier-dockerd}
socket=/var/run/docker.sock
pidfile=$state/dockerd.pid

answers() { [[ -S $socket ]] && curl --silent --fail --max-time 5 --unix-socket "$socket" http://docker/_ping >/dev/null; }

fail() {
  echo "dockerd.sh: $*" >&2
  exit 1
}

if [[ ${1:-start} == --help ]]; then
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
  exit 0
fi
if [[ ${1:-start} == stop ]]; then
  [[ -f $pidfile ]] || fail "no daemon was started by this script ($pidfile is missing)"
  kill "$(cat "$pidfile")" && tail --pid="$(cat "$pidfile")" -f /dev/null
  exit 0
fi
[[ ${1:-start} == start ]] || fail "unknown argument '$1'; use 'start' or 'stop'"

if answers; then
  echo "Docker answers at unix://$socket"
  exit 0
fi
[[ $EUID == 0 ]] || fail "no daemon answers at $socket and only root may start one; start Docker, or run this script as root"
if ! command -v dockerd >/dev/null; then
  command -v apt-get >/dev/null || fail "dockerd is missing and this is no Debian; install Docker Engine"
  echo "Installing docker.io"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io >/dev/null
fi

mkdir -p "$state"
for _ in 1 2 3 4 5; do # a service manager may have started it on installation
  answers && exit 0
  [[ -d /run/systemd/system ]] || break
  systemctl start docker || true
  sleep 1
done

# Boxes have no network, so the daemon needs none either: no bridge, no packet filter, nothing changed on the host.
setsid nohup dockerd --host "unix://$socket" --data-root "$state/data" --exec-root "$state/exec" --pidfile "$pidfile" \
  --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --bridge=none --iptables=false --ip6tables=false \
  --ip-forward=false --ip-masq=false --userland-proxy=false </dev/null >"$state/dockerd.log" 2>&1 &

for _ in $(seq 120); do
  answers && echo "Docker started at unix://$socket" && exit 0
  kill -0 $! 2>/dev/null || break
  sleep 0.5
done
tail -n 20 "$state/dockerd.log" >&2
fail "the daemon did not become ready; its log is $state/dockerd.log"
