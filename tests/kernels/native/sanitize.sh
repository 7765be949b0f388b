#!/usr/bin/env bash
# The kernels' own test, and calls that do not fit of every function that XLA calls, under the address and
# undefined-behaviour sanitizers, for every instruction set that this processor has.
#     sanitize.sh [best] [CALLS]   best: the instruction set in use only; CALLS: how many calls are tried
# Needs a C++ compiler; the calls also need XLA's headers, which jaxlib brings (PYTHON has it).
set -euo pipefail
cd "$(dirname "$0")"
root=../../..
sources=$root/src/mast/kernels/native
python=${PYTHON:-$root/.venv/bin/python}
headers=$("$python" -c 'import jax; print(jax.ffi.include_dir())' || true)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

which=all
if [[ ${1:-} == best ]]; then
  which=best
  shift
fi
calls=${1:-20000}

build() {
  ${CXX:-g++} -std=c++17 -g -Wall -Wextra -Wno-uninitialized -fno-math-errno -fno-trapping-math \
    -fsanitize=address,undefined -fno-sanitize-recover=all -I"$sources" "$@"
}

check() {
  local bytes=$1
  shift
  build -O1 -DMAST_VECTOR_BYTES="$bytes" "$@" test_kernels.cc -o "$folder/test-$bytes"
  "$folder/test-$bytes"
  if [[ -n $headers ]]; then  # without optimisation: compiling would take longer than all calls
    build -O0 -DMAST_VECTOR_BYTES="$bytes" "$@" -isystem "$headers" fuzz_handlers.cc -o "$folder/fuzz-$bytes"
    "$folder/fuzz-$bytes" "$calls"
  else
    echo "calls that do not fit: not tried, $python has no jax"
  fi
  if [[ $which == best ]]; then exit 0; fi
}

flags=$(grep -m1 '^flags' /proc/cpuinfo 2>/dev/null || true)
if [[ $flags == *avx512vl* ]]; then check 64 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c; fi
if [[ $flags == *avx2* ]]; then check 32 -mavx2 -mfma -mf16c; fi
check 16
