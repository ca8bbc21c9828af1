#!/usr/bin/env bash
# Makes an environment with the best-of-k tools that benchmarks compare with, and prints where it is.
#
#   scripts/peers.sh
#
# It is `.work/peers`, apart from .venv because these tools pin their own clients, and is reused while nothing that it is
# made from changes. optillm's proxy needs torch and forty more packages; its functions need none of them.
set -euo pipefail

cd "$(dirname "$0")/.."
home=.work/peers
stamp=$(cat scripts/peers.sh pyproject.toml | sha256sum)
if [[ ! -f $home/stamp || $(<"$home/stamp") != "$stamp" ]]; then
  python=${PYTHON:-.venv/bin/python}
  [[ -x $home/bin/pip ]] || "$python" -m venv "$home" >&2
  pip=("$home/bin/pip" install -qq --disable-pip-version-check)
  echo "Installing its_hub and optillm into $home (the first time takes a minute)" >&2
  "${pip[@]}" --editable ".[openai]" "its_hub[lm]==1.2.0" >&2
  "${pip[@]}" --no-deps optillm==0.4.0 >&2
  printf '%s\n' "$stamp" >"$home/stamp"
fi
echo "$home"
