#!/usr/bin/env python3
"""Compares Alrao with Adam's default on scikit-learn's small tables, over 20 draws of the validation part.

    splits.py target/release/alrao [FLAGS OF alrao train]

Needs scikit-learn and pandas. Each pair of runs has the same split (a fifth is validation), seed and number of epochs, and is scored at the last epoch:
accuracy or, for diabetes, R2. Prints a line of a table for each data set: both means, and the mean difference with its 95 %
interval (Student's t over the splits).
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import sklearn.datasets

SPLITS = 20
T = 2.093  # The 97.5 % point of Student's t with 19 degrees of freedom.


def write(name, folder):
    data = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    frame = data.frame.copy()
    if name != "diabetes":
        frame["target"] = [data.target_names[label] for label in data.target]
    frame.to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.csv"


def score(program, data, optimizer, split, more, folder):
    run = folder / f"{data.stem}-{optimizer}-{split}"
    command = [program, "-q", "train", "--data", data, "--target", "target", "--optimizer", optimizer]
    command += ["--split-seed", str(split), "--seed", str(split), "--out", run, *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "epoch"][-1]
    return last["valid_r2"] if last.get("valid_accuracy") is None else last["valid_accuracy"]


def main():
    program, more = sys.argv[1], sys.argv[2:]
    print("| | Alrao | Adam | difference | 95 % interval |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ["iris", "wine", "breast_cancer", "diabetes"]:
            data = write(name, folder)
            both = [[score(program, data, own, split, more, folder) for split in range(SPLITS)] for own in ["alrao", "adam"]]
            differences = [alrao - adam for alrao, adam in zip(*both)]
            mean = statistics.mean(differences)
            reach = T * statistics.stdev(differences) / math.sqrt(SPLITS)
            alrao, adam = [statistics.mean(own) for own in both]
            print(f"| {name} | {alrao:.3f} | {adam:.3f} | {mean:+.3f} | {mean - reach:+.3f} to {mean + reach:+.3f} |", flush=True)


main()
