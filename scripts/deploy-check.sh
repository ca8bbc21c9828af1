#!/usr/bin/env bash
# Checks the deployment without a cluster and without a registry: compose file, Dockerfile, manifests, dashboard, and the
# proxy in front of Docker; then starts the services of deploy/compose.yaml as plain processes and sends a job through all
# of them. `make test` runs the same tests.
#
#   scripts/deploy-check.sh
#
# Not checked here, because both need a network: that images can be built, and that their tags are still in the registries.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/test-needs.sh
python=.venv/bin/python
if command -v kubectl >/dev/null && kubectl kustomize deploy/kubernetes >/dev/null 2>&1; then
  echo "kustomize: $(kubectl kustomize deploy/kubernetes | grep -c '^kind:') objects, and" \
    "$(kubectl kustomize deploy/kubernetes/sandbox | grep -c '^kind:') for the sandbox"
  kubectl kustomize deploy/kubernetes-tls >/dev/null
fi
CI=true $python -m pytest tests/deploy "$@"
