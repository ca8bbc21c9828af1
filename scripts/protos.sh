#!/usr/bin/env bash
# Generate the stubs in proto/espalier/v1 from the .proto files; --check only compares and exits 1 when they differ.
#
# The generator is pinned: stubs refuse a protobuf or grpcio older than the generator they came from, so its version sets
# the lowest versions in pyproject.toml. It lives in an environment of its own, because it also caps protobuf.
set -euo pipefail

cd "$(dirname "$0")/.."
generator=grpcio-tools==1.74.0
environment=.work/protos-${generator##*==}

if [[ ! -x $environment/bin/python ]] || ! "$environment/bin/python" -c 'import grpc_tools' 2>/dev/null; then
  "${PYTHON:-python3}" -m venv "$environment"
  # grpcio-tools 1.74 still imports pkg_resources.
  "$environment/bin/pip" install --quiet --disable-pip-version-check "$generator" 'setuptools<81'
fi

generate() {  # $1: where to
  "$environment/bin/python" -W ignore -m grpc_tools.protoc --proto_path=proto \
    --python_out="$1" --pyi_out="$1" --grpc_python_out="$1" proto/espalier/v1/*.proto
}

case "${1-}" in
  "")
    generate proto
    ;;
  --check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    generate "$fresh"
    if ! diff --recursive --unified --exclude='*.proto' --exclude=py.typed --exclude=__pycache__ \
      proto/espalier/v1 "$fresh/espalier/v1"; then
      echo "protos: the stubs are not what the .proto files say; run scripts/protos.sh and commit the result" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: scripts/protos.sh [--check]" >&2
    exit 2
    ;;
esac
