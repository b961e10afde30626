#!/bin/sh
# fuzz/run.sh TARGET RUNS: tries this many random and changed inputs on a target, with stable Rust and without cargo-fuzz.
# The address sanitizer needs both: cargo +nightly fuzz run TARGET.
set -eu
cd "$(dirname "$0")"
# libFuzzer sees through these which branches an input takes.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With --target, build scripts are built without the flags.
host=$(rustc -vV | sed -n 's/^host: //p')
python3 seeds.py
cargo build --release --target "$host" --bin "$1"
mkdir -p "artifacts/$1"
# 2 GiB is four times the largest image that is decoded.
exec "target/$host/release/$1" -runs="$2" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="artifacts/$1/" "corpus/$1"
