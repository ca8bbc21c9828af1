#!/usr/bin/env bash
# Prints a problem for `espalier solve`: a text, and the files that a model has to see, by path.
#
#   prompt.sh ISSUE REPOSITORY FILE...
set -euo pipefail

if (($# < 3)); then
  echo "usage: $0 ISSUE REPOSITORY FILE..." >&2
  exit 2
fi
issue=$1 repository=$2
shift 2
for file in "${@/#/$repository/}"; do
  [[ -r $file && ! -d $file ]] || { echo "$0: cannot read $file" >&2; exit 2; }
done
cat "$issue"
for file in "$@"; do
  printf '\n%s:\n\n```\n%s\n```\n' "$file" "$(cat "$repository/$file")"
done
