#!/usr/bin/env bash
# Checks a coverage file that was written with TRIALS: 95 % of the instructions have been executed, and every wrong version of a
# kernel that was tried has been noticed, but for those in unnoticed.txt. PTX_DRIVER_TRIALS says whether all were tried (1) or a sample.
#
#   tools/ptx-driver/check-coverage.sh FILE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
awk -v least=95 -v step="${PTX_DRIVER_TRIALS:-1}" '
    FNR == NR { if ($0 ~ /^[0-9]/) { count = $1; sub(/^[0-9]+ /, ""); allowed[$0] = count } next }
    /^# / { print; match($0, /\([0-9.]+ %/); percent = substr($0, RSTART + 1, RLENGTH - 3) + 0 }
    /^kernel / { kernel = $2 }
    /^  trial / {
        trials++
        outcome = $3
        sub(/^  trial [0-9]+ [a-z]+ /, "")
        if (outcome == "noticed") { noticed++; next }
        trial = kernel " " $0
        if (++missed[trial] > allowed[trial]) { print outcome ": " trial; faults++ }
    }
    END {
        printf "%d of %d wrong versions of kernels noticed\n", noticed, trials
        if (!trials) { print "no trials: TRIALS was not set"; faults++ }
        if (percent < least) { print "less than " least " % of the instructions executed"; faults++ }
        for (trial in allowed)
            if (step == 1 && missed[trial] < allowed[trial]) { print "noticed, and in unnoticed.txt: " trial; faults++ }
        exit faults > 0
    }
' "$here/unnoticed.txt" "$1"
