#!/usr/bin/env bash
# The curriculum of the seedling and its controls in parts of a few minutes: start it again until it says that it is done.
#
#   recipes/seedling/curriculum.sh [FOLDER] [MINUTES]
#
# FOLDER (runs/curriculum) keeps everything; what is finished is not done again. A part ends after MINUTES (8), or up to a
# minute later, with a checkpoint and exit status 4. The last part prints the table, writes it to FOLDER/table.txt and
# FOLDER/table.json, draws FOLDER/curves.png, and ends with status 1 if papo is not above beta by the margin.
#
# CONFIG names other settings; ESPALIER another command than .venv/bin/espalier, where the package is only on the path
# ("python3 -m espalier.solver.cli.main").
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-runs/curriculum}
minutes=${2:-8}
config=${CONFIG:-recipes/seedling/curriculum.toml}
read -ra espalier <<< "${ESPALIER:-.venv/bin/espalier}"
mkdir -p "$folder"
train() { "${espalier[@]}" train "$@"; }

held=0
train curriculum --config "$config" --out "$folder" --minutes "$minutes" > "$folder/table.txt" || held=$?
((held <= 1)) || exit "$held"
cat "$folder/table.txt"
train curriculum --config "$config" --out "$folder" --json > "$folder/table.json" || (($? == held))
curves=()
for stage in zero papo sequential-rl; do
  if [[ -f $folder/$stage/metrics.jsonl ]]; then curves+=("$folder/$stage"); fi
done
train plot "${curves[@]}" --out "$folder/curves.png"
exit "$held"
