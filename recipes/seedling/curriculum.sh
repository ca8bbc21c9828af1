#!/usr/bin/env bash
# The curriculum of the seedling and its baselines in parts of a few minutes: start it again until it says that it is done.
#
#   recipes/seedling/curriculum.sh [FOLDER] [MINUTES]
#
# FOLDER (runs/curriculum) keeps everything; what is finished is not done again. A part ends after MINUTES (8), or up to a
# minute later, with a checkpoint and exit status 4. The last part prints the table, writes it to FOLDER/table.txt and
# FOLDER/table.json, draws FOLDER/curves.png, and ends with status 1 if papo is not above beta by the margin.
#
# CONFIG names other settings; PYTHON another interpreter than .venv/bin/python.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-runs/curriculum}
minutes=${2:-8}
config=${CONFIG:-recipes/seedling/curriculum.toml}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$folder"
curriculum() { "$python" -m recipes.seedling curriculum --config "$config" --out "$folder" "$@"; }

held=0
curriculum --minutes "$minutes" > "$folder/table.txt" || held=$?
((held <= 1)) || exit "$held"
cat "$folder/table.txt"
curriculum --json > "$folder/table.json" || (($? == held))
curves=()
for stage in zero papo sequential-rl; do
  if [[ -f $folder/$stage/metrics.jsonl ]]; then curves+=("$folder/$stage"); fi
done
"$python" -m espalier.training.cli plot "${curves[@]}" --out "$folder/curves.png"
exit "$held"
