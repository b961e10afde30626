#!/usr/bin/env python3
"""Regression on five data sets, scikit-learn's diabetes and four generated ones: the test error of Alrao's predictions beside
those of the single classifier that is best on the validation part, of Alrao with Adam, of SGD's best of four rates, of Adam and of
ridge regression.

    regression.py --alrao target/release/alrao [--seeds 5] [--epochs 100] [-- FLAGS OF alrao train]

Needs numpy, safetensors and scikit-learn."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SIZE = 1500
SGD_RATES = [0.001, 0.01, 0.1, 1.0]


def diabetes(random):
    data = load_diabetes(scaled=False)
    return data.data, data.target


def friedman(random):
    return make_friedman1(SIZE, n_features=10, noise=1.0, random_state=int(random.integers(1 << 31)))


def heavy_tails(random):
    """Errors and inputs with heavy tails: Student's t with 2 and with 3 degrees of freedom."""
    x = random.standard_t(3, (SIZE, 8))
    return x, x @ random.normal(size=8) + 0.5 * random.standard_t(2, SIZE)


def linear(random):
    """Columns of very different scales, and targets far from 0."""
    x = random.normal(size=(SIZE, 20)) * 10.0 ** random.uniform(-3, 3, 20)
    return x, (x / x.std(0)) @ random.normal(size=20) * 100 + 5000 + random.normal(size=SIZE) * 30


def sine(random):
    x = random.uniform(-1, 1, (SIZE, 1))
    return x, np.sin(3 * np.pi * x[:, 0]) + 0.1 * random.normal(size=SIZE)


SETS = {"diabetes": diabetes, "friedman1": friedman, "heavy tails": heavy_tails, "linear": linear, "sine": sine}


def write(name, seed, path):
    """A data set as a file for alrao, in its own units. Returns its parts."""
    random = np.random.default_rng(seed)
    x, y = SETS[name](random)
    x, y = x.astype("f4"), y.astype("f4")[:, None]
    order = random.permutation(len(x))
    fifth = len(x) // 5
    parts = {"test": order[:fifth], "valid": order[fifth : 2 * fifth], "train": order[2 * fifth :]}
    parts = {part: (x[rows], y[rows]) for part, rows in parts.items()}
    tensors = {}
    for part, (inputs, targets) in parts.items():
        prefix = "" if part == "train" else f"{part}_"
        tensors |= {f"{prefix}inputs": inputs, f"{prefix}targets": targets}
    save_file(tensors, path)
    return parts


def train(alrao, data, folder, flags):
    """The least validation loss, and the test error of that epoch's model. Both are infinite for a run that fails."""
    command = [alrao, "train", "-q", "--model", "mlp", "--data", str(data), "--out", str(folder), *flags]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        return np.inf, np.inf
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["valid_loss"] for line in lines if line["kind"] == "epoch" and line["valid_loss"] is not None]
    (test,) = [line for line in lines if line["kind"] == "test"]
    return min(losses), np.inf if test["mse"] is None else test["mse"]


def record(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return json.loads(header["__metadata__"]["alrao"])["model"]


def best_classifier(folder, parts):
    """The test error of the classifier with the least error on the validation part."""
    weights, model = load_file(folder / "best.safetensors"), record(folder / "best.safetensors")
    (mean, deviation), (target_mean, target_deviation) = model["normalisation"], model["target_normalisation"]

    def errors(part):
        x, y = parts[part]
        x, layer = (x - np.array(mean)) / np.array(deviation), 0
        while f"layers.{layer}.weight" in weights:
            x = np.maximum(x @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"], 0)
            layer += 1
        outputs = np.einsum("nkd,bd->bnk", weights["classifiers.weight"], x) + weights["classifiers.bias"]
        outputs = outputs * np.array(target_deviation) + np.array(target_mean)
        return ((outputs - y[:, None]) ** 2).mean((0, 2))

    with np.errstate(all="ignore"):
        return errors("test")[np.argmin(np.nan_to_num(errors("valid"), nan=np.inf))]


def ridge(parts):
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
    (x, y), (test_x, test_y) = parts["train"], parts["test"]
    return ((model.fit(x, y).predict(test_x).reshape(-1, 1) - test_y) ** 2).mean()


def run(name, seed, arguments, folder):
    parts = write(name, seed, folder / "data.safetensors")
    common = ["--seed", str(seed), "--epochs", str(arguments.epochs), "--threads", "1", *arguments.flags]

    def trained(place, *flags):
        return train(arguments.alrao, folder / "data.safetensors", folder / place, [*flags, *common])

    plain = [trained(f"sgd{lr}", "--optimizer", "sgd", "--lr", str(lr)) for lr in SGD_RATES]
    results = {"alrao": trained("alrao")[1], "one classifier": best_classifier(folder / "alrao", parts)}
    results["alrao-adam"] = trained("alrao-adam", "--optimizer", "alrao-adam")[1]
    return results | {"SGD, best of 4": min(plain)[1], "Adam": trained("adam", "--optimizer", "adam")[1], "ridge": ridge(parts)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alrao", default="alrao", help="the program")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("flags", nargs="*", help="flags of alrao train, for all methods")
    arguments = parser.parse_args()
    for name in arguments.sets:
        rows = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(run(name, seed, arguments, pathlib.Path(folder)))
                print(name, seed, rows[-1], file=sys.stderr)
        means = {method: np.mean([row[method] for row in rows]) for method in rows[0]}
        ratio = np.max([row["alrao"] / row["one classifier"] for row in rows])
        cells = " | ".join(f"{mean:.4g}" for mean in means.values())
        if name == arguments.sets[0]:
            print("| data | " + " | ".join(means) + " | largest ratio, alrao to one classifier |")
            print("| --- " * (len(means) + 2) + "|")
        print(f"| {name} | {cells} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
