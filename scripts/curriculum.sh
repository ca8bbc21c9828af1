#!/usr/bin/env bash
# The curriculum of the seedling and its controls in parts of a few minutes: start it again until it says that it is done.
#
#   scripts/curriculum.sh [FOLDER] [MINUTES]
#
# FOLDER (runs/curriculum) keeps everything; what is finished is not done again. A part ends after MINUTES (8) with a
# checkpoint and exit status 4. The last part prints the table, writes it to FOLDER/table.json and draws FOLDER/curves.png.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-runs/curriculum}
minutes=${2:-8}
mkdir -p "$folder"
train() { .venv/bin/espalier train "$@"; }

train curriculum --config training/configs/curriculum-seedling.toml --out "$folder" --minutes "$minutes"
train curriculum --config training/configs/curriculum-seedling.toml --out "$folder" --json > "$folder/table.json"
train plot "$folder/zero" "$folder/papo" "$folder/sequential-rl" --out "$folder/curves.png"
