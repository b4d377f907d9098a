#!/usr/bin/env bash
# Builds a wheel for every CPython from 3.11 on that is found, tries each in an empty environment and
# writes them to dist/ with the tag of the oldest systems that they run on: scripts/wheels.sh BIN,
# where BIN holds auditwheel.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(realpath "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p dist
# the inner loops are the same for every Python: with ccache they are compiled once
command -v ccache >/dev/null && export CMAKE_CXX_COMPILER_LAUNCHER=ccache

trial='
import importlib.util, pathlib, platform, sysconfig
path = next(pathlib.Path(sysconfig.get_path("platlib")).glob("sampling/kernels/_core*.so"))
spec = importlib.util.spec_from_file_location("sampling.kernels._core", path)
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
print("Python", platform.python_version(), "loads", path.name)
'

# A name may be a shim that has no Python behind it, so each is asked.
for version in 3.11 3.12 3.13; do
  python=$(command -v "python$version") && "$python" -c 'import venv' 2>/dev/null || {
    echo "python$version: not found" >&2
    continue
  }
  rm -rf "$folder"/*
  "$python" -m venv "$folder/build"
  PIP_CONSTRAINT=$PWD/constraints.txt "$folder/build/bin/python" -m pip wheel --quiet --no-deps \
    --wheel-dir "$folder/raw" .
  PATH=$tools:$PATH auditwheel repair --wheel-dir "$folder/repaired" "$folder"/raw/*.whl >&2
  "$python" -m venv "$folder/trial"
  # the core needs nothing but NumPy: no torch is installed for the trial
  "$folder/trial/bin/python" -m pip install --quiet --constraint constraints.txt numpy
  "$folder/trial/bin/python" -m pip install --quiet --no-deps "$folder"/repaired/*.whl
  (cd "$folder" && "$folder/trial/bin/python" -c "$trial") >&2
  mv "$folder"/repaired/*.whl dist/
done
ls dist/*.whl
