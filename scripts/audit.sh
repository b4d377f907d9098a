#!/usr/bin/env bash
# Asks the package index for known vulnerabilities of every locked version:
#
#     scripts/audit.sh PIP-AUDIT [--if-answered]
#
# A package that could not be asked about counts as a failure, or an audit without the network would
# pass. With --if-answered, as in `make check`, an index that does not answer is said in one line and
# is no failure; a known vulnerability is.
set -euo pipefail
cd "$(dirname "$0")/.."
index=${INDEX:-https://pypi.org}

answers() {  # whether the index tells of one version what pip-audit reads
  "$(dirname "$audit")/python" - "$index/pypi/pip/25.1/json" 2>/dev/null <<'END'
import json, sys, urllib.request
assert "vulnerabilities" in json.load(urllib.request.urlopen(sys.argv[1], timeout=10))
END
}

skip_unless_answered() {
  if [ "$mode" = --if-answered ] && ! answers; then
    echo "$index does not answer: known vulnerabilities of locked versions are not checked" >&2
    exit 0
  fi
}

audit=$1 mode=${2:-}
skip_unless_answered
for file in constraints.txt docker/requirements.txt docker/load-requirements.txt; do
  echo "$file"
  "$audit" --strict --no-deps --disable-pip --progress-spinner off --requirement "$file" || {
    skip_unless_answered
    echo "$file is not audited: a version has a known vulnerability, or the index could not be" \
      "asked; the lines above say which" >&2
    exit 1
  }
done
