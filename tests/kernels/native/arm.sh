#!/usr/bin/env bash
# The kernels for 64-bit ARM: compiled by a cross compiler, their own test run in an emulator.
#     apt-get install g++-aarch64-linux-gnu qemu-user-static
set -euo pipefail
cd "$(dirname "$0")"
program=$(mktemp)
trap 'rm -f "$program"' EXIT
aarch64-linux-gnu-g++ -std=c++17 -O2 -static -fno-math-errno -fno-trapping-math -ffp-contract=fast \
  -DMAST_VECTOR_BYTES=16 -I../../../src/mast/kernels/native test_kernels.cc -o "$program"
qemu-aarch64-static "$program"
