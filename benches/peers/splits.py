#!/usr/bin/env python3
"""Compares Alrao with Adam's default on scikit-learn's small tables, over 20 draws of the validation part.

    splits.py target/release/alrao [--tables NAME,..] [--splits FIRST-LAST] [--kept] [FLAGS OF alrao train] [-- FLAGS OF ALRAO'S RUNS ALONE]

Needs scikit-learn, SciPy and pandas. Each pair of runs has the same split (a fifth is validation), seed and number of epochs, and is scored at the last epoch, or
with --kept at that of the least validation loss, whose model is kept: accuracy or, for diabetes, R2. Prints a line of a table for each data set: both means, and the mean difference with its 95 %
interval (Student's t over the splits).
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import scipy.stats
import sklearn.datasets

TABLES = "iris,wine,breast_cancer,diabetes"


def write(name, folder):
    data = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    frame = data.frame.copy()
    if name != "diabetes":
        frame["target"] = [data.target_names[label] for label in data.target]
    frame.to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.csv"


def score(program, data, optimizer, split, more, is_kept, folder):
    run = folder / f"{data.stem}-{optimizer}-{split}"
    command = [program, "-q", "train", "--data", data, "--target", "target", "--optimizer", optimizer]
    command += ["--split-seed", str(split), "--seed", str(split), "--out", run, *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    own = min(epochs, key=lambda epoch: epoch["valid_loss"]) if is_kept else epochs[-1]
    return own["valid_r2"] if own.get("valid_accuracy") is None else own["valid_accuracy"]


def main():
    flags, own = sys.argv[1:], []
    if "--" in flags:
        flags, own = flags[: flags.index("--")], flags[flags.index("--") + 1 :]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("program")
    parser.add_argument("--tables", default=TABLES)
    parser.add_argument("--splits", default="0-19")
    parser.add_argument("--kept", action="store_true")
    chosen, more = parser.parse_known_args(flags)
    first, last = map(int, chosen.splits.split("-"))
    splits = range(first, last + 1)
    # The 97.5 % point.
    t = scipy.stats.t.ppf(0.975, len(splits) - 1)
    print("| | Alrao | Adam | difference | 95 % interval |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in chosen.tables.split(","):
            data = write(name, folder)

            def scores(optimizer, more):
                return [score(chosen.program, data, optimizer, split, more, chosen.kept, folder) for split in splits]

            both = [scores("alrao", more + own), scores("adam", more)]
            differences = [alrao - adam for alrao, adam in zip(*both)]
            mean = statistics.mean(differences)
            reach = t * statistics.stdev(differences) / math.sqrt(len(splits))
            alrao, adam = [statistics.mean(own) for own in both]
            print(f"| {name} | {alrao:.3f} | {adam:.3f} | {mean:+.3f} | {mean - reach:+.3f} to {mean + reach:+.3f} |", flush=True)


main()
