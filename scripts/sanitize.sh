#!/usr/bin/env bash
# Runs the contract tests on a core that was built with GCC's sanitizers: reads and writes outside
# memory and undefined behavior first, then races between threads. The first error ends it.
#
#     scripts/sanitize.sh PYTHON [BUILD-FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "$1")
folder=${2:-build/sanitize}
PATH=$(dirname "$python"):$PATH
compiler=${CXX:-c++}

# Statistics of very many draws, and what starts Python anew without the sanitized core.
left_out=(--ignore tests/contracts/test_uniformity.py
          --ignore tests/contracts/test_instruction_sets.py)

library() {
  local path
  path=$("$compiler" -print-file-name="$1")
  if [ ! -e "$path" ]; then
    echo "$compiler has no $1; install GCC with its sanitizers, or name it: CXX=g++" >&2
    exit 2
  fi
  echo "$path"
}

build() {  # sanitizers → the core's path
  local out=$folder/${1%%,*}
  cmake -G Ninja -S . -B "$out" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER="$compiler" \
    -DGNN_SANITIZE="$1" -DPython_EXECUTABLE="$python" >/dev/null
  ninja -C "$out" --quiet >&2
  realpath "$out"/_core*.so
}

run() {  # libraries to load first, variables of the sanitizer …, tests …
  local preload=$1
  shift
  # The layout of memory is not randomized: the thread sanitizer cannot take every one.
  PYTHONPATH=$PWD:$PWD/scripts GNN_CORE=$core GNN_TEST_EXAMPLES=15 OMP_NUM_THREADS=1 \
    setarch -R env LD_PRELOAD="$preload" "$1" "$2" "$python" -m pytest -s -p sanitized_core \
    -p no:cacheprovider "${left_out[@]}" tests/contracts
}

echo "building and testing with the address and undefined behavior sanitizers"
# The C++ library has to be there when the address sanitizer starts, or it misses exceptions.
core=$(build address,undefined)
run "$(library libasan.so) $(library libstdc++.so)" \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1

echo "building and testing with the thread sanitizer"
# Only the core is instrumented, so what others do is not seen and nothing need be suppressed.
core=$(build thread)
run "$(library libtsan.so)" TSAN_OPTIONS=halt_on_error=1 PYTHONMALLOC=malloc
