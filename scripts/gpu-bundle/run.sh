#!/bin/sh
# Tests and measures the program on this machine's GPU, within nine minutes; no Rust is needed. The parts, in order:
#
#   run.sh tests-gpu   the tests that need a GPU, each in a process of its own
#   run.sh kernels     every kernel beside its floor: the update, the head and the switch first, then all
#   run.sh steps       whole training steps, model by model, beside PyTorch's where PYTHON has it
#   run.sh train       two short training runs
#   run.sh sanitize    compute-sanitizer on six cases, where it is on PATH
#   run.sh table       the results as one table; it always runs, as the last part
#
# Without arguments all parts run. A command that hangs or fails does not affect the others: each has a time limit, writes to
# a file of its own, and has a line in parts.txt (name, state, seconds).
#
# DEVICE   cuda; or simulator, which runs every part on small sizes without a GPU
# LIMIT    seconds for everything, by default 540; each part must end at a fixed share of them
# RESULTS  the folder for all files, by default results beside this script
# OUT      the folder for table.md, parts.txt and results.tar.gz (all files), by default RESULTS; updated after every
#          command, so that a run that is cut off leaves them too
# PYTHON   Python, with PyTorch for the comparison; by default python3
set -u
here=$(cd "$(dirname "$0")" && pwd)
DEVICE=${DEVICE:-cuda}
LIMIT=${LIMIT:-540}
RESULTS=${RESULTS:-$here/results}
OUT=${OUT:-$RESULTS}
PYTHON=${PYTHON:-python3}
PYTHON=$(command -v "$PYTHON" || echo "$PYTHON")
all_parts="tests-gpu kernels steps train sanitize table"

# shellcheck disable=SC2086 # it is a list
[ $# -gt 0 ] || set -- $all_parts
for part in "$@"; do
    case " $all_parts " in
    *" $part "*) ;;
    *)
        echo "run.sh: '$part' is none of $all_parts" >&2
        exit 2
        ;;
    esac
done
case "$DEVICE" in
cuda | simulator) ;;
*)
    echo "run.sh: DEVICE is '$DEVICE', neither cuda nor simulator" >&2
    exit 2
    ;;
esac
case "$LIMIT" in
'' | *[!0-9]*)
    echo "run.sh: LIMIT is '$LIMIT', not whole seconds" >&2
    exit 2
    ;;
esac
mkdir -p "$RESULTS" "$OUT" && RESULTS=$(cd "$RESULTS" && pwd) && OUT=$(cd "$OUT" && pwd) || exit 2
# If all parts run, remove the results of an earlier run, which would otherwise appear in the table.
if [ "$*" = "$all_parts" ]; then
    for kind in tests kernels steps own-steps train memcheck racecheck; do
        rm -f "$RESULTS/$kind"-*.txt "$RESULTS/$kind"-*.json "$RESULTS/$kind"-*.jsonl
    done
fi
[ "$*" = table ] || : >"$RESULTS/parts.txt"

alrao=$here/bin/alrao
tests=$here/bin/tests
# Unpacked under another name and renamed, so that an interrupted run leaves no incomplete file.
[ -e "$tests" ] || { gunzip -c "$tests.gz" >"$tests.new" && chmod +x "$tests.new" && mv "$tests.new" "$tests"; } ||
    echo "run.sh: $tests.gz cannot be unpacked; its parts will fail" >&2
export ALRAO_PROGRAM="$alrao" ALRAO_REQUIRE_CUDA=1 PYTHONUNBUFFERED=1

now() { date +%s; }
start=$(now)
failed=""
child=""

# Sets the end of the running part, in hundredths of LIMIT.
due() { part_end=$((start + LIMIT * $1 / 100)); }

remaining() { echo $((part_end - $(now))); }

# Seconds for one of the COUNT commands left in this part: one and a half times an equal share, since most need less, and at
# least five.
share() { # COUNT
    seconds=$(($(remaining) * 3 / (2 * $1)))
    [ "$seconds" -ge 5 ] && echo "$seconds" || echo 5
}

note() { # NAME STATE SECONDS
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$RESULTS/parts.txt"
    echo "== $1: $2, $3 s"
    deliver
}

# Updates OUT.
deliver() {
    # Written elsewhere: tar refuses a folder that changes while it is read.
    archive=$(mktemp) && tar -C "$RESULTS" --exclude results.tar.gz -czf "$archive" . && mv "$archive" "$OUT/results.tar.gz"
    [ "$OUT" = "$RESULTS" ] && return
    for file in parts.txt table.md; do
        [ ! -e "$RESULTS/$file" ] || cp "$RESULTS/$file" "$OUT/$file"
    done
}

# Runs a command for at most SECONDS and at most to the end of the part. KIND json writes standard output to NAME.json and
# standard error to NAME.txt; KIND txt writes both to NAME.txt.
attempt() { # NAME KIND SECONDS COMMAND...
    name=$1
    kind=$2
    most=$3
    shift 3
    left=$(remaining)
    [ "$most" -le "$left" ] || most=$left
    if [ "$most" -lt 1 ]; then
        status=skipped
        note "$name" "skipped, no time is left" 0
        return 1
    fi
    began=$(now)
    messages=$RESULTS/$name.txt
    printed=$messages
    [ "$kind" = txt ] || printed=$RESULTS/$name.json
    : >"$messages"
    : >"$printed"
    # In the background, so that this script reacts to a signal at once.
    timeout -k 5 "$most" "$@" </dev/null >>"$printed" 2>>"$messages" &
    child=$!
    wait "$child"
    status=$?
    child=""
    seconds=$(($(now) - began))
    state="failed $status"
    case $status in
    0) state=ok ;;
    124) state="stopped after $most s" ;;
    # Killed at its limit: it did not stop at the first signal.
    137) [ "$seconds" -lt "$most" ] || state="stopped after $most s" ;;
    esac
    note "$name" "$state" "$seconds"
    [ "$status" = 0 ] && return
    failed="$failed $name"
    tail -n 5 "$messages"
    return 1
}

# A short name, and a part of a case's name: one case of each kind of kernel, with few enough threads for compute-sanitizer.
cases="optimizer|optimizer sgd, gradients not finite
head|classifiers gradients [true, true, true] of classes
many-classes|many classes gradients [true, true, true]
matmul|matmul Tf32 Plain corner of tile 128
conv2d|by [9, 3, 3], stride 1 padding 1 groups 1 gaps [0, 0] Tf32 corner of tile 64
lstm|lstm [3, 23, 2] into 3, Plain"

# Kernels and test cases by family, for when a fault makes the device unusable for the rest of a process.
named="optimizer classifiers many_classes switch"
others="matmul conv2d batch_norm lstm depthwise pool embedding elementwise reduce cross_entropy dropout flatten gather augment \
clip step_statistics catch_up replay bellman soft_update peak"

on_gpu=kernels::kernels_agree_with_the_cpu_on_a_gpu
simulated=kernels::kernels_agree_with_the_cpu_and_none_is_forgotten

tests_gpu() {
    if [ "$DEVICE" = simulator ]; then
        count=$(echo "$cases" | wc -l)
        while IFS='|' read -r short pattern; do
            attempt "tests-$short" txt "$(share "$count")" env ALRAO_CASES="$pattern" "$tests" --exact "$simulated" --nocapture
            count=$((count - 1))
        done <<END
$cases
END
        return
    fi
    # The skipped tests are about machines without a GPU.
    attempt tests-list txt 10 "$tests" gpu --skip without_a_gpu --skip a_gpu_that_is_not_there --list --format terse
    attempt tests-kernels txt "$(share 2)" "$tests" --exact "$on_gpu" --nocapture
    kernels_ended=$status
    list=$(sed -n 's/: test$//p' "$RESULTS/tests-list.txt" | grep -vx "$on_gpu")
    count=$(echo "$list" | wc -w)
    for test in $list; do
        attempt "tests-${test##*::}" txt "$(share "$count")" "$tests" --exact "$test" --nocapture
        count=$((count - 1))
    done
    # 125 to 127: the command could not be started.
    case $kernels_ended in
    0 | skipped | 12[567]) return ;;
    # 101: the test failed. It lists all faults, unless the device failed.
    101) grep -q "nothing was tried after it" "$RESULTS/tests-kernels.txt" || return ;;
    esac
    by_family "$named linear $others" case_family
}

case_family() { # FAMILY SECONDS
    case $1 in
    many_classes | soft_update | step_statistics) pattern=$(echo "$1" | tr _ ' ') ;;
    *) pattern=$1 ;;
    esac
    attempt "tests-$1" txt "$2" env ALRAO_CASES="$pattern" "$tests" --exact "$on_gpu" --nocapture
}

kernel_family() { # FAMILY SECONDS
    attempt "kernels-f32-$1" json "$2" "$alrao" kernels "$1" --device cuda --json
}

# Runs COMMAND for each family while time is left.
by_family() { # FAMILIES COMMAND
    families=$(echo "$1" | wc -w)
    for family in $1; do
        "$2" "$family" "$(share "$families")"
        [ "$status" != skipped ] || return
        families=$((families - 1))
    done
}

kernels() {
    if [ "$DEVICE" = simulator ]; then
        attempt kernels-f32-optimizer json "$(share 2)" "$alrao" kernels optimizer_sgd --device simulator --json
        attempt kernels-f32-switch json "$(share 1)" "$alrao" kernels switch_update --device simulator --json
        return
    fi
    count=6
    for family in $named; do
        kernel_family "$family" "$(share "$count")"
        count=$((count - 1))
    done
    attempt kernels-f32-all json "$(share 2)" "$alrao" kernels --device cuda --json
    case $status in
    0 | skipped | 12[567]) ;;
    *) by_family "$others prediction" kernel_family ;;
    esac
    attempt kernels-bf16-all json "$(share 1)" "$alrao" kernels --precision bf16 --device cuda --json
}

steps() {
    set -- --device "$DEVICE" --json
    models="vgg19 cnn char-lstm word-lstm mobilenetv2 googlenet"
    if [ "$DEVICE" = simulator ]; then
        set -- "$@" --steps 1
        models="cnn char-lstm"
    fi
    has_peers=no
    if [ "$DEVICE" = simulator ]; then
        note steps-peers "skipped, PyTorch does not run in the simulator" 0
    elif timeout -k 5 60 "$PYTHON" -c 'import torch'; then
        has_peers=yes
    else
        note steps-peers "skipped, $PYTHON has no torch" 0
    fi
    count=$(echo "$models" | wc -w)
    for model in $models; do
        if [ "$has_peers" = no ]; then
            attempt "steps-$model" json "$(share "$count")" "$alrao" bench step --model "$model" "$@"
        elif ! attempt "steps-$model" json "$(share "$count")" "$alrao" bench step --model "$model" --peers "$PYTHON" --patience 30 "$@"; then
            attempt "own-steps-$model" json "$(share "$count")" "$alrao" bench step --model "$model" "$@"
        fi
        count=$((count - 1))
    done
}

train() {
    runs=$(mktemp -d) || { note train "failed, no temporary folder" 0; failed="$failed train"; return; }
    if [ "$DEVICE" = simulator ]; then
        set -- --model mlp --hidden 16 --samples 32 --batch-size 8 --max-steps 2
        attempt train-mlp txt "$(share 1)" "$alrao" train --device simulator "$@" --out "$runs/mlp"
    else
        attempt train-cnn txt "$(share 2)" "$alrao" train --device cuda --out "$runs/cnn"
        attempt train-char-lstm txt "$(share 1)" "$alrao" train --device cuda --model char-lstm --max-steps 500 --out "$runs/char-lstm"
    fi
    for run in "$runs"/*/; do
        [ ! -e "$run/metrics.jsonl" ] || cp "$run/metrics.jsonl" "$RESULTS/train-$(basename "$run").jsonl"
    done
    rm -rf "$runs"
}

sanitize() {
    if ! command -v compute-sanitizer >/dev/null; then
        note sanitize "skipped, compute-sanitizer is not on PATH" 0
        return
    fi
    if [ "$DEVICE" = simulator ]; then
        note sanitize "skipped, the simulator has checks of its own" 0
        return
    fi
    count=$((2 * $(echo "$cases" | wc -l)))
    for tool in memcheck racecheck; do
        while IFS='|' read -r short pattern; do
            attempt "$tool-$short" txt "$(share "$count")" env ALRAO_CASES="$pattern" \
                compute-sanitizer --tool "$tool" --error-exitcode 1 "$tests" --exact "$on_gpu"
            count=$((count - 1))
        done <<END
$cases
END
    done
}

# Writes and prints table.md; without Python it holds the states of the parts.
table() {
    timeout -k 5 15 "$PYTHON" "$here/table.py" "$RESULTS" >"$RESULTS/table.md.new" || {
        failed="$failed table"
        cp "$RESULTS/parts.txt" "$RESULTS/table.md.new"
    }
    mv "$RESULTS/table.md.new" "$RESULTS/table.md"
    deliver
    # The last section is not printed: it has some two hundred lines.
    sed '/^## Other kernels/,$d' "$RESULTS/table.md"
}

stopped() {
    [ -z "$child" ] || kill "$child"
    note run.sh "stopped by a signal" $(($(now) - start))
    table
    exit 130
}
trap stopped HUP INT TERM

due 100
{
    cat "$here/version.txt"
    uname -srm
    ! command -v nvidia-smi >/dev/null || timeout -k 5 20 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
} 2>&1 | tee "$RESULTS/machine.txt"

for part in $all_parts; do
    case " $* " in
    *" $part "*) ;;
    *) continue ;;
    esac
    # Time that a part does not use is left for the next.
    case $part in
    tests-gpu) due 22 && tests_gpu ;;
    kernels) due 33 && kernels ;;
    steps) due 78 && steps ;;
    train) due 85 && train ;;
    sanitize) due 96 && sanitize ;;
    esac
done
table
[ -z "$failed" ] || { echo "run.sh: failed:$failed" >&2; exit 1; }
