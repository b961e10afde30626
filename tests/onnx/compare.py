#!/usr/bin/env python3
"""Runs the cases of FOLDER/cases.json in onnxruntime and prints, by case, how far the outputs are from those expected:

    python compare.py FOLDER

A case is a model and runs of it, each with the arrays of its inputs and outputs. A difference is relative to the expected
number where that is larger than 1. A last line has the largest difference of each case as JSON."""

import json
import pathlib
import sys

import numpy
import onnxruntime

# Stands for an output that is not finite where a finite one is expected, or has another shape.
WRONG = 1e30


def array(folder, own):
    return numpy.fromfile(folder / own["file"], own["type"]).reshape(own["shape"])


def difference(output, expected):
    if output.shape != expected.shape or not numpy.isfinite(output).all():
        return WRONG
    return float((abs(output - expected) / numpy.maximum(1, abs(expected))).max())


def compare(folder, case):
    session = onnxruntime.InferenceSession(folder / case["model"], providers=["CPUExecutionProvider"])
    largest = 0.0
    for run in case["runs"]:
        inputs = {name: array(folder, own) for name, own in run["inputs"].items()}
        outputs = session.run(list(run["outputs"]), inputs)
        for output, own in zip(outputs, run["outputs"].values()):
            largest = max(largest, difference(output, array(folder, own)))
    return largest


def main():
    folder = pathlib.Path(sys.argv[1])
    cases = json.loads((folder / "cases.json").read_text())
    print(json.dumps({case["model"]: compare(folder, case) for case in cases}))


main()
