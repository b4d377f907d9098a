#!/usr/bin/env bash
# Asks the package index for known vulnerabilities of every locked version: scripts/audit.sh PIP-AUDIT.
# It is no part of `make check`: it needs the network, and its answer changes while no line here does.
# A package that could not be asked about counts as a failure, or an audit without the network
# would pass.
set -euo pipefail
cd "$(dirname "$0")/.."
for file in constraints.txt docker/requirements.txt docker/load-requirements.txt; do
  echo "$file"
  "$1" --strict --no-deps --disable-pip --progress-spinner off --requirement "$file" || {
    echo "$file is not audited: a version has a known vulnerability, or the index could not be" \
      "asked; the lines above say which" >&2
    exit 1
  }
done
