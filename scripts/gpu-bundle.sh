#!/bin/sh
# Builds gpu-bundle/, a folder to copy to a machine with a GPU. It needs no Rust there: run.sh in it tests and measures the
# program in nine minutes. scripts/gpu-bundle/assemble.sh lists its files.
#
#   scripts/gpu-bundle.sh              needs nvcc (NVCC, CUDA_HOME, PATH or /usr/local/cuda) and a C++ compiler
#
# ALRAO_CUDA_ARCHS chooses the GPUs, by default 80,90. The processor has to have AVX2 (x86-64-v3).
set -eu
cd "$(dirname "$0")/.."

most_bytes=40000000
to=gpu-bundle

case "${RUSTFLAGS:-}" in
*target-cpu=native*)
    echo "RUSTFLAGS has target-cpu=native: the bundle would run on this processor only; leave it out" >&2
    exit 2
    ;;
esac

export ALRAO_HOST_CPU=x86-64-v3 ALRAO_SKIP_KERNELS=0 ALRAO_REQUIRE_SIMULATOR=1
export CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_DEBUG=false
# A target folder of its own, since these settings would make cargo rebuild the usual one.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/gpu-bundle}"

# One build for both: two builds would compile the dependencies twice.
report=$(mktemp)
trap 'rm -f "$report"' EXIT
cargo build --release --bin alrao --test main --message-format=json >"$report"

# The path of the program built under this name.
built() {
    sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' "$report" | tail -n 1
}

program=$(built alrao)
if "$program" --version | grep -q "no kernels for GPUs"; then
    echo "no nvcc was found, so the program carries no kernels: set NVCC to where it is" >&2
    exit 2
fi

rm -rf "$to"
scripts/gpu-bundle/assemble.sh "$program" "$(built main)" "$to"

bytes=$(du -sb "$to" | cut -f 1)
echo "$to: $bytes bytes; $(cat "$to/version.txt")"
if [ "$bytes" -gt "$most_bytes" ]; then
    echo "$to is larger than $most_bytes bytes" >&2
    exit 1
fi
