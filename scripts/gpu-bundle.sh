#!/bin/sh
# Builds gpu-bundle/: everything that is to be run on a machine with a GPU, which needs no Rust there: the program, which
# measures itself, its tests, PyTorch's side of the comparison, and run.sh, which runs all of it.
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
# Its own folder, since these settings would make the usual one be built anew, there and back.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/gpu-bundle}"

# All at once: one after the other, dependencies would be built once more for each.
report=$(mktemp)
trap 'rm -f "$report"' EXIT
cargo build --release --bin alrao --test main --example gymnasium_stand_in --message-format=json >"$report"

# The program that was built under this name.
built() {
    sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' "$report" | tail -n 1
}

program=$(built alrao)
if "$program" --version | grep -q "no kernels for GPUs"; then
    echo "no nvcc was found, so the program carries no kernels: set NVCC to where it is" >&2
    exit 2
fi

rm -rf "$to"
mkdir -p "$to/bin" "$to/examples" "$to/source/scripts" "$to/source/tests/golden" "$to/source/docs" "$to/peers"
cp "$program" "$to/bin/alrao"
# Half the size; run.sh unpacks it.
gzip -9 -c "$(built main)" >"$to/bin/tests.gz"
# What tests run and read.
cp "$(built gymnasium_stand_in)" "$to/examples/"
cp -R src "$to/source/src"
cp -R tests/gymnasium "$to/source/tests/gymnasium"
cp scripts/gymnasium_bridge.py "$to/source/scripts/"
cp tests/machine_code.txt "$to/source/tests/"
cp -R docs/kernels "$to/source/docs/kernels"
cp tests/golden/*.safetensors tests/golden/*.txt "$to/source/tests/golden/"
cp benches/peers/*.py "$to/peers/"
cp scripts/gpu-bundle/run.sh scripts/gpu-bundle/table.py "$to/"
"$program" --version >"$to/version.txt"

bytes=$(du -sb "$to" | cut -f 1)
echo "$to: $bytes bytes; $(cat "$to/version.txt")"
if [ "$bytes" -gt "$most_bytes" ]; then
    echo "$to is larger than $most_bytes bytes" >&2
    exit 1
fi
