#!/bin/sh
# Tests and measures the program on this machine's GPU; no Rust is needed. Without arguments everything, in this order:
#
#   run.sh tests      every test, those on a GPU first; a GPU that is not there is a failure (ALRAO_REQUIRE_CUDA=0: a skip)
#   run.sh sanitize   compute-sanitizer over small cases of every kernel family, where it is on PATH
#   run.sh train      short runs of an image model and of a model of text
#   run.sh bench      every kernel beside its floor, whole steps eager and captured, Q-learning
#   run.sh peers      the same steps in PyTorch, where PYTHON has it, and Q-learning on both sides in turn
#   run.sh table      what came of it, as one table
#
# OUT: the folder for results, by default results beside this file. DEVICE: cuda, or cpu to try the bundle without a GPU.
# PYTHON: python3 with PyTorch. STEPS: timed steps of each kind. PRECISIONS: of PyTorch's steps, by default "f32 tf32".
set -u
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$here/results}
DEVICE=${DEVICE:-cuda}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
[ -e "$here/bin/tests" ] || { gunzip -c "$here/bin/tests.gz" >"$here/bin/tests" && chmod +x "$here/bin/tests"; } || exit 2
OUT=$(cd "$OUT" && pwd)
export ALRAO_PROGRAM="$here/bin/alrao" ALRAO_SOURCE="$here/source" ALRAO_BENCH_DEVICE="$DEVICE"
export ALRAO_REQUIRE_CUDA="${ALRAO_REQUIRE_CUDA:-$([ "$DEVICE" = cuda ] && echo 1 || echo 0)}"
export RUST_BACKTRACE="${RUST_BACKTRACE:-0}"
models="--model vgg19 --model mobilenetv2 --model cnn --model char-lstm"
steps="${STEPS:+--steps $STEPS}"
failed=""

# Runs a command, shows and keeps what it says, and notes whether it failed.
step() {
    name=$1
    shift
    echo "== $name: $*"
    { "$@" 2>&1; echo $? >"$OUT/status"; } | tee "$OUT/$name.txt"
    status=$(cat "$OUT/status")
    rm -f "$OUT/status"
    [ "$status" = 0 ] || { failed="$failed $name"; echo "== $name: exit code $status"; }
}

# Keeps what a command writes as its result; messages are shown.
result() {
    file=$1
    shift
    echo "== $file: $*"
    "$@" >"$OUT/$file" || failed="$failed $file"
}

tests() {
    step tests-gpu "$here/bin/tests" gpu --nocapture
    step tests "$here/bin/tests" --skip gpu
}

# Small, and at least one of each family.
cases="optimizer|switch, edges|tally|clip 4|catch_up [4,|classifiers gradients|elementwise relu|elementwise copy|reduce [700
batch_norm|max_pool2d [2, 8|average_pool2d [2, 8|dropout blocks|flatten [2, 7|augment [3,|cross_entropy 31|embedding a window
lstm [6, 5|lstm [4, 9|depthwise [2, 5|conv2d [1, 5, 4, 8]|matmul Plain 31|corner of tile 64|many classes [2,|gather|ceiling"

sanitize() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "== sanitize: skipped, compute-sanitizer is not on PATH"
        return
    fi
    for tool in memcheck racecheck synccheck initcheck; do
        echo "$cases" | tr '|' '\n' | while IFS= read -r case; do
            echo "-- $tool: $case"
            ALRAO_CASES="$case" compute-sanitizer --tool "$tool" --error-exitcode 1 \
                "$here/bin/tests" kernels_agree_with_the_cpu_on_a_gpu || echo "FAULT $tool: $case"
        done 2>&1 | tee "$OUT/sanitize-$tool.txt"
        ! grep -q "^FAULT" "$OUT/sanitize-$tool.txt" || failed="$failed sanitize-$tool"
    done
}

train() {
    rm -rf "$OUT/run-cnn" "$OUT/run-char-lstm"
    step train-cnn "$here/bin/alrao" train --device "$DEVICE" --epochs "${EPOCHS:-12}" --out "$OUT/run-cnn"
    step train-char-lstm "$here/bin/alrao" train --device "$DEVICE" --model char-lstm --max-steps 500 --out "$OUT/run-char-lstm"
    step train-eval "$here/bin/alrao" eval "$OUT/run-cnn" --device "$DEVICE"
}

bench() {
    if [ "$DEVICE" = cpu ]; then
        echo "== kernels: skipped, the cpu runs none"
    else
        for precision in f32 bf16; do
            result "kernels-$precision.json" "$here/bin/alrao" kernels --precision "$precision" --device "$DEVICE" --json
        done
    fi
    for precision in $([ "$DEVICE" = cuda ] && echo "f32 tf32 bf16" || echo f32); do
        # shellcheck disable=SC2086 # they are lists of arguments
        result "steps-$precision.json" "$here/bin/alrao" bench step $models $steps --precision "$precision" --device "$DEVICE" --json
    done
    # shellcheck disable=SC2086 # it is a list of arguments
    result q-learning.json "$here/bin/alrao" bench q-learning $steps --device "$DEVICE" --json
}

peers() {
    if ! "$PYTHON" -c "import torch" 2>/dev/null; then
        echo "== peers: skipped, $PYTHON has no torch"
        return
    fi
    : >"$OUT/peers.jsonl"
    : >"$OUT/peers-q-learning.jsonl"
    for precision in $([ "$DEVICE" = cuda ] && echo "${PRECISIONS:-f32 tf32}" || echo f32); do
        echo "== peers: $precision"
        # shellcheck disable=SC2086 # they are lists of arguments
        "$PYTHON" "$here/peers/step.py" --device "$DEVICE" --precision "$precision" $steps --json >>"$OUT/peers.jsonl" ||
            failed="$failed peers-$precision"
        "$PYTHON" "$here/peers/dqn.py" --device "$DEVICE" --precision "$precision" --alrao "$here/bin/alrao" \
            ${STEPS:+--updates "$STEPS"} --json >>"$OUT/peers-q-learning.jsonl" || failed="$failed peers-q-learning-$precision"
    done
}

table() {
    "$PYTHON" "$here/table.py" "$OUT" | tee "$OUT/table.md"
}

cat "$here/version.txt"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
[ $# -gt 0 ] || set -- tests sanitize train bench peers table
for part in "$@"; do
    case "$part" in
    tests | sanitize | train | bench | peers | table) "$part" ;;
    *)
        echo "run.sh: '$part' is none of tests, sanitize, train, bench, peers, table" >&2
        exit 2
        ;;
    esac
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
