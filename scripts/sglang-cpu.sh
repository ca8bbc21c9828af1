#!/usr/bin/env bash
# Makes an environment in which the unmodified SGLang runs on a CPU, for tests, and prints where it is.
#
#   scripts/sglang-cpu.sh [--version 0.5.21]
#
# It is `.work/sglang-VERSION`, apart from .venv because SGLang pins its dependencies, and is reused while nothing that
# it is made from changes. Packages that exist for GPUs only are replaced by the stand-ins under tests/sglang.
set -euo pipefail

cd "$(dirname "$0")/.."
version=0.5.21
if [[ ${1:-} == --version ]]; then
  version=${2:?usage: scripts/sglang-cpu.sh [--version 0.5.21]}
fi

home=.work/sglang-$version
sources=(scripts/sglang-cpu.sh pyproject.toml tests/sglang/requirements.txt)
stamp=$(cat "${sources[@]}" | sha256sum)
if [[ ! -f $home/stamp || $(<"$home/stamp") != "$stamp" ]]; then
  python=${PYTHON:-.venv/bin/python}
  [[ -x $home/bin/pip ]] || "$python" -m venv "$home" >&2
  pip=("$home/bin/python" scripts/uv_pip.py install -q)
  echo "Installing SGLang $version for the CPU into $home (the first time takes minutes)" >&2
  "${pip[@]}" --editable . -r tests/sglang/requirements.txt >&2
  "${pip[@]}" --no-deps "sglang==$version" >&2
  packages=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\nimport torchvision_operators\n' "$PWD/tests/sglang" >"$packages/espalier_standins.pth"
  "$home/bin/python" -m compileall -q -j 2 -x transformers/models/ "$packages"/{sglang,transformers,torch} >/dev/null || true
  printf '%s\n' "$stamp" >"$home/stamp"
fi
echo "$home"
