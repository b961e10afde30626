#!/usr/bin/env bash
# Runs the project's tests of its cuda device on this driver, on a machine without a GPU.
#
#   tools/ptx-driver/run.sh [--arch 80|90] [ARGUMENTS OF THE TEST BINARY]
#
# Without arguments, every test with `gpu` in its name that needs one; afterwards it is checked that they have executed 95 % of
# the kernels' instructions, and that they notice every barrier that is left out and all swapped operands; with
# PTX_DRIVER_TRIALS=N, every N-th of these wrong versions. NVCC names nvcc; without it, the one that .ci/run
# installed is taken. PTX_DRIVER_... are passed on: see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

arch=80
if test "${1:-}" = --arch; then
    arch=$2
    shift 2
fi
case $arch in 80 | 90) ;; *) echo "$0: --arch $arch is neither 80 nor 90" >&2; exit 2 ;; esac

cuda=${XDG_CACHE_HOME:-$HOME/.cache}/alrao/cuda-13.0.88
NVCC=${NVCC:-$(find "$cuda" -path '*/bin/nvcc' -type f 2>/dev/null | head -n 1)}
test -x "$NVCC" || { echo "$0: no nvcc: set NVCC" >&2; exit 2; }
export NVCC

(cd "$here" && cargo build --release --locked --target-dir "$here/target")
library=$here/target/release
ln -sf libcuda.so "$library/libcuda.so.1"

# The same command as the project's tests, so that nothing is built twice.
cd "$root"
messages=$(cargo test --release --locked --test main --no-run --message-format=json)
binary=$(grep -o '"executable":"[^"]*/main-[0-9a-f]*"' <<<"$messages" | tail -n 1 | cut -d '"' -f 4)
out=$(grep -o '"out_dir":"[^"]*/alrao-[0-9a-f]*/out"' <<<"$messages" | tail -n 1 | cut -d '"' -f 4)

# The PTX of every kernel file, by a hash of all that nvcc reads; beside it the fat binary by which the driver recognises it, and
# ptxas's report on its registers.
hash=$(cat kernels/*.cu kernels/*.cuh "$NVCC.profile" 2>/dev/null | sha256sum | cut -c 1-16)
ptx=$here/target/ptx/$hash
mkdir -p "$ptx"
compile() {
    test -e "$2" && return
    "$NVCC" -ptx -O3 -std=c++17 -lineinfo "-arch=compute_$3" -o "$2.unfinished" "$1"
    mv "$2.unfinished" "$2"
}
export -f compile
for source in kernels/*.cu; do
    name=$(basename "$source" .cu)
    printf '%s\0%s\0%s\0' "$source" "$ptx/$name.sm_$arch.ptx" "$arch"
done | xargs -0 -P 2 -n 3 bash -c 'compile "$@"' compile

code=$here/target/code-$arch
rm -rf "$code"
mkdir -p "$code"
for image in "$out"/*.fatbin; do
    stem=$(basename "$image" .fatbin)
    ln -s "$image" "$code/$stem.fatbin"
    ln -s "${image%.fatbin}.report" "$code/$stem.report"
    ln -s "$ptx/${stem%-*}.sm_$arch.ptx" "$code/$stem.sm_$arch.ptx"
done

export LD_LIBRARY_PATH=$library ALRAO_REQUIRE_CUDA=1 PTX_DRIVER_CODE=$code PTX_DRIVER_GPU=sm_$arch
if test $# != 0; then
    exec "$binary" "$@"
fi
coverage=$here/target/coverage-$arch
rm -f "$coverage"
# Other tests of these names need no GPU, or none at all.
export PTX_DRIVER_TRIALS=${PTX_DRIVER_TRIALS:-1}
PTX_DRIVER_COVERAGE=$coverage "$binary" gpu --skip without_a_gpu --skip not_there --test-threads 1
"$here/check-coverage.sh" "$coverage"
