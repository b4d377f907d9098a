#!/usr/bin/env bash
# The programs that tests run for real. On Debian as root what is missing is installed; anyone else
# is told, and the tests that need it are skipped (in CI they fail).
set -euo pipefail

command -v redis-server >/dev/null && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  # The package would start a server of its own, which no test uses.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >&2
else
  echo "missing: redis-server; tests of shared caches and jobs are skipped without it" >&2
fi
