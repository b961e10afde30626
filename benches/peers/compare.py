#!/usr/bin/env python3
"""Checks that the engine learns as well as PyTorch: both sides do the same training runs with several seeds each, and the
mean validation losses must agree within the spread over seeds. Each side draws its own weights, rates and orders.

Every finished run is a line of --results; a run that is already there is not repeated."""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
SIDES = ["engine", "torch"]
COMPARISONS = {
    "cnn": ["--epochs", "5"],
    "mobilenetv2": ["--max-steps", "200"],
    "char-lstm": ["--eta-min", "1e-3", "--eta-max", "100", "--classifiers", "6", "--epochs", "2"],
}


def arguments():
    parser = argparse.ArgumentParser(description="final validation losses, engine and PyTorch", allow_abbrev=False)
    parser.add_argument("--cifar", metavar="DIR", help="CIFAR-10's binary files, for cnn and mobilenetv2")
    parser.add_argument("--text", metavar="FILE", help="a text, for char-lstm")
    parser.add_argument("--alrao", metavar="BINARY", default="target/release/alrao")
    parser.add_argument("--only", choices=COMPARISONS, action="append", help="may be repeated; all three if not given")
    parser.add_argument("--side", choices=[*SIDES, "both"], default="both")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", metavar="FILE.jsonl", type=pathlib.Path, default=pathlib.Path("compare.jsonl"))
    args = parser.parse_args()
    args.only = args.only or list(COMPARISONS)
    if args.seeds < 2:
        parser.error("a deviation needs two --seeds or more")
    for name in args.only:
        if data_of(args, name) is None:
            parser.error(f"{name} needs {'--text' if name == 'char-lstm' else '--cifar'}")
    return args


def data_of(args, name):
    return args.text if name == "char-lstm" else args.cifar


def read_results(path):
    """(comparison, side, seed) -> line, for runs with the definitions above."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        (line["comparison"], line["side"], line["seed"]): line
        for line in lines
        if line["flags"] == COMPARISONS.get(line["comparison"])
    }


def run(args, name, side, seed):
    """One training run. A loss that is not finite is null in the metrics, and infinite here."""
    flags = ["--model", name, "--data", str(data_of(args, name)), *COMPARISONS[name]]
    flags += ["--seed", str(seed), "--threads", str(args.threads), "--log-every", "0"]
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder) / "run"
        if side == "engine":
            command, metrics = [args.alrao, "train", *flags, "--out", str(place), "-q"], place / "metrics.jsonl"
        else:
            metrics = pathlib.Path(folder) / "metrics.jsonl"
            command = [sys.executable, str(HERE / "alrao.py"), *flags, "--metrics", str(metrics)]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}")
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return {
        "comparison": name,
        "side": side,
        "seed": seed,
        "flags": COMPARISONS[name],
        "valid_loss": [line["valid_loss"] for line in lines if line["kind"] == "epoch"][-1],
        "seconds": round(time.perf_counter() - began, 1),
    }


def row(results, name, seeds):
    """The line of the table, and whether the two sides agree: None where runs are missing."""
    losses = {}
    for side in SIDES:
        found = [results.get((name, side, seed)) for seed in range(seeds)]
        values = [line["valid_loss"] for line in found if line is not None]
        losses[side] = [math.inf if value is None else value for value in values]
    cells = [name]
    for side in SIDES:
        values = losses[side]
        spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
        cells += [f"{statistics.fmean(values):.4f}" if values else "-", f"{spread:.4f}", f"{len(values)}"]
    if any(len(values) < seeds for values in losses.values()):
        return [*cells, "-", "-", "incomplete"], None
    engine, torch = losses["engine"], losses["torch"]
    if not all(map(math.isfinite, engine + torch)):
        return [*cells, "-", "-", "NO"], False
    difference = statistics.fmean(engine) - statistics.fmean(torch)
    bound = 2 * math.sqrt((statistics.variance(engine) + statistics.variance(torch)) / seeds)
    agrees = abs(difference) <= bound
    return [*cells, f"{difference:+.4f}", f"{bound:.4f}", "yes" if agrees else "NO"], agrees


def main():
    args = arguments()
    results = read_results(args.results)
    for name in args.only:
        for seed in range(args.seeds):
            for side in SIDES if args.side == "both" else [args.side]:
                if (name, side, seed) in results:
                    continue
                line = results[name, side, seed] = run(args, name, side, seed)
                with args.results.open("a") as file:
                    print(json.dumps(line), file=file)
                print(f"{name} {side} seed {seed}: {line['valid_loss']}, {line['seconds']} s", file=sys.stderr, flush=True)
    header = ["model", "engine", "deviation", "seeds", "torch", "deviation", "seeds", "difference", "bound", "agree"]
    print("".join(f"{cell:<12}" for cell in header).rstrip())
    agreements = []
    for name in args.only:
        cells, agrees = row(results, name, args.seeds)
        agreements.append(agrees)
        print("".join(f"{cell:<12}" for cell in cells).rstrip())
    return 1 if False in agreements else 0


if __name__ == "__main__":
    sys.exit(main())
