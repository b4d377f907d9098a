#!/usr/bin/env bash
# Prints a Python of version 3.11 or newer that can make environments and compile extensions.
# On Debian as root it installs what is missing; anyone else is told what to install.
set -euo pipefail

find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

has_headers() {
  "$1" -c 'import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())'
}

missing=()
python=$(find_python)
if [ -z "$python" ]; then
  missing+=(python3 python3-venv python3-dev)
else
  "$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  has_headers "$python" || missing+=(python3-dev)
fi
command -v c++ >/dev/null || missing+=(g++)

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2
    python=$(find_python)
  else
    echo "missing: ${missing[*]}; install them with your system's package manager" >&2
    exit 2
  fi
fi
if [ -z "$python" ]; then
  echo "no Python 3.11 or newer was found; install one and run make again" >&2
  exit 2
fi
echo "$python"
