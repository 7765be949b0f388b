#!/usr/bin/env bash
# The kernels' own test under the address and undefined-behaviour sanitizers, for every instruction set that
# this processor has, or with `best` for the one that it would use. Needs a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")"
sources=../../../src/mast/kernels/native
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

check() {
  local bytes=$1
  shift
  ${CXX:-g++} -std=c++17 -O1 -g -Wall -Wextra -Wno-uninitialized -fno-math-errno -fno-trapping-math \
    -fsanitize=address,undefined -fno-sanitize-recover=all \
    -DMAST_VECTOR_BYTES="$bytes" "$@" -I"$sources" test_kernels.cc -o "$folder/test-$bytes"
  "$folder/test-$bytes"
  if [[ $which == best ]]; then exit 0; fi
}

which=${1:-all}
flags=$(grep -m1 '^flags' /proc/cpuinfo 2>/dev/null || true)
if [[ $flags == *avx512vl* ]]; then check 64 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c; fi
if [[ $flags == *avx2* ]]; then check 32 -mavx2 -mfma -mf16c; fi
check 16
