#!/usr/bin/env bash
# Makes an environment with the evaluation tools that verdicts are made for, for tests, and prints where it is.
#
#   scripts/evals.sh
#
# It is `.work/evals`, apart from .venv because these tools pin older clients than the tests of the service use, and is
# reused while nothing that it is made from changes. This project's packages come from the checkout that asks.
set -euo pipefail

cd "$(dirname "$0")/.."
tools=(verifiers==0.4.0 inspect-ai==0.3.285 lm-eval==0.4.13)
home=.work/evals
mkdir -p .work
exec 9>.work/evals.lock # tests ask for it while it is made
flock 9
stamp=$(cat scripts/evals.sh pyproject.toml | sha256sum)
if [[ ! -f $home/stamp || $(<"$home/stamp") != "$stamp" ]]; then
  python=${PYTHON:-.venv/bin/python}
  [[ -x $home/bin/pip ]] || "$python" -m venv "$home" >&2
  echo "Installing ${tools[*]} into $home (the first time takes minutes)" >&2
  "$home/bin/python" scripts/uv_pip.py install -q "${tools[@]}" -r pyproject.toml >&2
  printf '%s\n' "$stamp" >"$home/stamp"
fi
echo "$home"
