#!/usr/bin/env bash
# Builds the library's tests for Linux on aarch64 and runs them under qemu, on a machine with another processor.
#
#   scripts/aarch64.sh [ARGUMENTS OF THE TEST BINARY]
#
# It needs `rustup target add aarch64-unknown-linux-gnu` and Debian's packages g++-aarch64-linux-gnu and qemu-user-static.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# A cross compiler does not know `native`. The tests compile kernels, too, with CXX.
export ALRAO_HOST_CPU=cortex-a76 ALRAO_SKIP_KERNELS=1 ALRAO_REQUIRE_SIMULATOR=1

cargo test --release --locked --lib --no-run --target $target
tests=$(cargo test --release --locked --lib --no-run --target $target --message-format=json |
    grep -o '"executable":"[^"]*"' | tail -n 1 | cut -d '"' -f 4)
export CXX=aarch64-linux-gnu-g++ CARGO_MANIFEST_DIR=$PWD
# Under qemu a missing program is noticed later than on Linux, so the test of a missing Python is left out.
exec qemu-aarch64-static -L /usr/aarch64-linux-gnu "$tests" --skip without_any_python "$@"
