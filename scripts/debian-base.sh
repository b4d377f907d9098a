#!/usr/bin/env bash
# Makes a base image of Debian's own packages, for builds that can reach no image registry:
# scripts/debian-base.sh NAME. Debian 12's Python is 3.11, as that of the Dockerfile's default base.
set -euo pipefail
name=$1
if ! command -v mmdebstrap >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >&2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv bookworm \
  "$folder/base.tar"
docker import --change 'CMD ["python3"]' "$folder/base.tar" "$name"
