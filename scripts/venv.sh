#!/usr/bin/env bash
# Makes .venv with this project installed for editing, and one of its extras, in the versions of constraints.txt.
#
#   scripts/venv.sh train|dev
#   scripts/venv.sh empty       only .venv with its pip
#
# PYTHON names the interpreter; otherwise the newest python3 of at least 3.11 is taken.
set -euo pipefail

cd "$(dirname "$0")/.."
extra=${1:?usage: scripts/venv.sh train|dev|empty}

fail() {
  echo "venv.sh: $*" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer found (looked for ${PYTHON:-python3}); install one, or name it: make PYTHON=/path/to/python3"
}

if [[ ! -x .venv/bin/pip ]]; then
  python=$(find_python)
  version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
  missing=()
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$version-venv")
  # The task generators need pycosat, which has no wheels: a compiler and Python's headers.
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [[ -f $headers/Python.h ]] || missing+=("python$version-dev")
  if [[ ${#missing[@]} -gt 0 ]]; then
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
      fail "missing: ${missing[*]}; run: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    echo "Installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  echo "Making .venv with Python $version"
  "$python" -m venv .venv
fi
[[ $extra != empty ]] || exit 0

# Without an NVIDIA GPU torch's CPU build serves as well as the default one and is a tenth of the download.
index=https://download.pytorch.org/whl/cpu
if ! command -v nvidia-smi >/dev/null && ! .venv/bin/python -c 'import torch' 2>/dev/null &&
  .venv/bin/python -c "import urllib.request as r; r.urlopen('$index/torch/', timeout=5)" 2>/dev/null; then
  export UV_INDEX="${UV_INDEX:+$UV_INDEX }$index"
fi

echo "Installing espalier[$extra] into .venv (the first time takes a minute or more)"
# pip would compile one module after the other; compileall takes all cores. Half of what there is is hardly ever imported.
.venv/bin/python scripts/uv_pip.py install -q --constraint constraints.txt --editable ".[$extra]" ||
  fail "nothing was installed, for what is said above; where the network or the index is out of reach, name a mirror \
(PIP_INDEX_URL), a proxy (HTTPS_PROXY) or its certificate (PIP_CERT); UV_OFFLINE=1 takes what \
this machine has fetched before"
packages=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rare='/(tests|transformers/models|litellm|pandas|pip)/'
.venv/bin/python -W ignore -m compileall -qq -j 0 -x "$rare" "$packages" || true # what no Python of this version can read, nothing imports
touch ".venv/$extra.stamp"
