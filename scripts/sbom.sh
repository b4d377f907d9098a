#!/usr/bin/env bash
# The bill of materials of an image: scripts/sbom.sh IMAGE FILE. sbom.py says what is in it.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$(dirname "$2")"
container=$(docker create "$1")
trap 'docker rm "$container" >/dev/null' EXIT
docker export "$container" | python3 scripts/sbom.py >"$2.tmp"
mv "$2.tmp" "$2"
echo "$2"
