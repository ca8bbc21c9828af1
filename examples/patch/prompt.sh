#!/usr/bin/env bash
# Prints a problem for `espalier solve`: a text, and the files that a model has to see, by path.
#
#   prompt.sh ISSUE REPOSITORY FILE...
set -euo pipefail

issue=$1 repository=$2
shift 2
cat "$issue"
for file in "$@"; do
  printf '\n%s:\n\n```\n%s\n```\n' "$file" "$(cat "$repository/$file")"
done
