#!/usr/bin/env bash
# The programs that tests run for real. On Debian as root what is missing is installed; anyone else
# is told, and the tests that need it fail.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v promtool >/dev/null || missing+=(prometheus)
command -v chromium >/dev/null || missing+=(chromium)
command -v fiu-run >/dev/null || missing+=(fiu-utils)
if [ ${#missing[@]} -eq 0 ] && command -v kustomize >/dev/null; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  command -v kustomize >/dev/null || missing+=(kustomize)
  echo "missing: ${missing[*]}; tests of shared caches, jobs, deployment, failing disks and the console fail without" >&2
  exit 0
fi
# The packages would start servers of their own, which no test uses.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
apt-get update -qq >&2
if [ ${#missing[@]} -gt 0 ]; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
if ! command -v kustomize >/dev/null; then
  # Debian 12 has none; that of a newer one is a single file
  scripts/newer-debian.sh build/newer-debian kustomize >&2
  install build/newer-debian/usr/bin/kustomize /usr/local/bin/
fi
