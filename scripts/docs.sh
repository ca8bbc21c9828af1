#!/usr/bin/env bash
# Builds the documentation into site/, strictly, and checks its links.
#
#   scripts/docs.sh           build and check
#   scripts/docs.sh serve     show it at http://127.0.0.1:8001 and build again when a file changes
set -euo pipefail

cd "$(dirname "$0")/.."
export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
if [[ ${1:-build} == serve ]]; then
  exec .venv/bin/mkdocs serve --dev-addr 127.0.0.1:8001
fi
.venv/bin/mkdocs build --strict --quiet
.venv/bin/python scripts/docs_links.py site
