#!/usr/bin/env bash
# Resolves the newest versions that pyproject.toml allows, for CPython 3.11 and later, and writes
#   constraints.txt           everything that development, tests, extras and the build install
#   docker/requirements.txt   what the image installs, with the hash of every file
#   docker/load-requirements.txt   the same for the image of the load generator
# torch and what it brings for CUDA stand in neither: which build of torch there is, the user says.
# The image has no dgl: nothing that serves imports it.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
torch=${TORCH:-torch==2.13.0}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

echo "$torch" >"$folder/torch.txt"
echo "dgl==1.1.3; python_version < '3'" >"$folder/no-dgl.txt"
sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ' "' |
  sed 's/,\([a-z]\)/\n\1/g' >"$folder/build.in"

resolve() {  # what to resolve, options
  "$uv" pip compile --quiet --universal --python-version 3.11 --upgrade \
    --no-annotate --no-header --no-emit-index-url -c "$folder/torch.txt" "$@"
}

without_torch() {  # also drops the hashes that follow a dropped name
  awk '/^[^ #]/ { keep = $0 !~ /^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z-]*)==/ } keep'
}

{
  echo "# Written by \`make lock\`; do not edit. For pip install --constraint constraints.txt …"
  groups=(--group test --group lint --group native --group release)
  resolve pyproject.toml "$folder/build.in" --all-extras "${groups[@]}" | without_torch
} >"$folder/constraints.txt"
{
  echo "# Written by \`make lock\`; do not edit. The image's packages, without torch and dgl."
  resolve pyproject.toml --extra redis --extra similar --generate-hashes --override "$folder/no-dgl.txt" \
    -c "$folder/constraints.txt" | without_torch
} >"$folder/requirements.txt"
printf 'locust>=2.40\nnumpy>=2.1,<3\n' >"$folder/load.in"
{
  echo "# Written by \`make lock\`; do not edit. The packages of the load generator's image."
  resolve "$folder/load.in" --generate-hashes -c "$folder/constraints.txt"
} >"$folder/load-requirements.txt"
mv "$folder/load-requirements.txt" docker/load-requirements.txt
mv "$folder/constraints.txt" constraints.txt
mv "$folder/requirements.txt" docker/requirements.txt
