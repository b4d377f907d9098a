#!/bin/bash
# Inside the build: removes from an environment what serving never reads: C and C++ headers, static
# libraries, build files and the tests of packages.
set -euo pipefail
packages=$(echo "$1"/lib/python3*/site-packages)
rm -rf "$packages"/torch/{include,share,test} "$packages"/pyarrow/{include,src,tests}
for package in numpy scipy sklearn pyarrow networkx; do
  find "$packages/$package" -depth -type d -name tests -exec rm -rf {} +
done
find "$packages" -name '*.a' -delete
