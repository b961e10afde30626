#!/bin/sh
# Assembles the folder for a machine with a GPU: the program (with PyTorch's side of the comparison in it), its tests,
# run.sh, and table.py.
#
#   scripts/gpu-bundle/assemble.sh PROGRAM TESTS FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -ne 3 ]; then
    echo "usage: assemble.sh PROGRAM TESTS FOLDER" >&2
    exit 2
fi
program=$1
tests=$2
to=$3

mkdir -p "$to/bin"
cp "$program" "$to/bin/alrao"
# Compressed to half the size; run.sh unpacks it.
gzip -c "$tests" >"$to/bin/tests.gz"
cp "$here/run.sh" "$here/table.py" "$to/"
"$program" --version >"$to/version.txt"
