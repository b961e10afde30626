#!/usr/bin/env python3
"""Checks that the engine follows PyTorch step for step, at full width: both start from the same initial values, learning
rates and order of samples, and each step's losses and posterior are compared. A bound applies to the mixture's loss and
to the posterior; exit status 1 if either exceeds it.

With rates up to 10 training is chaotic: between two runs of PyTorch whose initial values differ by 1e-16, the losses of
the mlp's individual classifiers differ by 7e-7 after twenty steps. So the column of the classifiers' losses is only
shown."""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
RECORD = 1 + 3 * 32 * 32
BATCH = 32

# Model, precision, steps, bound, flags of both sides. Rates are the defaults except where f32 rounding errors would grow.
RUNS = [
    ("mlp", "f64", 20, 1e-6, []),
    ("cnn", "f64", 20, 1e-6, []),
    ("vgg11", "f64", 5, 1e-6, []),
    ("mobilenetv2", "f64", 5, 1e-6, []),
    ("googlenet", "f64", 3, 1e-6, []),
    ("senet18", "f64", 3, 1e-6, []),
    ("char-lstm", "f64", 5, 1e-6, ["--dropout", "0", "--clip", "0.25"]),
    ("word-lstm", "f64", 3, 1e-6, ["--dropout", "0", "--clip", "0.25", "--bptt", "10"]),
    ("mlp", "f32", 40, 1e-3, ["--eta-max", "1"]),
]


def arguments():
    parser = argparse.ArgumentParser(description="the engine's steps beside PyTorch's", allow_abbrev=False)
    parser.add_argument("--cifar", metavar="DIR", type=pathlib.Path, required=True, help="CIFAR-10's binary files")
    parser.add_argument("--text", metavar="FILE", required=True)
    parser.add_argument("--alrao", metavar="BINARY", default="target/release/alrao")
    parser.add_argument("--only", action="append", choices=sorted({run[0] for run in RUNS}), help="may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def first_images(cifar, folder):
    """A folder with only the first training images: enough for the steps, and nothing to evaluate."""
    images = max(steps for _, _, steps, _, _ in RUNS) * BATCH
    with (cifar / "data_batch_1.bin").open("rb") as file:
        (folder / "data_batch_1.bin").write_bytes(file.read(images * RECORD))
    return folder


def run(command):
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}")


def steps_of(path):
    lines = map(json.loads, path.read_text().splitlines())
    return [line for line in lines if line["kind"] == "step"]


def both(args, data, model, precision, steps, flags):
    """The step lines of the engine and of PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        flags = ["--model", model, "--data", str(data), "--precision", precision, "--max-steps", str(steps), *flags]
        flags += ["--valid-split", "0", "--log-every", "1", "--threads", str(args.threads)]
        # Text is always read in order.
        flags += [] if model.endswith("-lstm") else ["--order", "sequential"]
        init, rates, metrics = (str(folder / name) for name in ("init.safetensors", "rates.safetensors", "torch.jsonl"))
        peer = [sys.executable, str(HERE / "alrao.py"), *flags, "--metrics", metrics]
        run([*peer, "--save-init", init, "--save-rates", rates])
        place = folder / "run"
        run([args.alrao, "train", *flags, "--init", init, "--rates", rates, "--out", str(place), "--device", "cpu", "-q"])
        return steps_of(place / "metrics.jsonl"), steps_of(pathlib.Path(metrics))


def difference(a, b, relative):
    """The difference; infinite if only one of the numbers is null, that is, not finite."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b) / (max(abs(b), 1e-300) if relative else 1.0)


def largest(engine, torch, key, relative):
    as_list = lambda value: value if isinstance(value, list) else [value]
    return max(
        difference(a, b, relative)
        for ours, theirs in zip(engine, torch, strict=True)
        for a, b in zip(as_list(ours[key]), as_list(theirs[key]), strict=True)
    )


def main():
    args = arguments()
    print(f"{'model':<12} {'precision':<9} {'steps':>5} {'loss':>9} {'posterior':>9} {'bound':>7}  ok   classifiers")
    follows = True
    with tempfile.TemporaryDirectory() as folder:
        images = first_images(args.cifar, pathlib.Path(folder))
        for model, precision, steps, bound, flags in RUNS:
            if args.only and model not in args.only:
                continue
            data = args.text if model.endswith("-lstm") else images
            engine, torch = both(args, data, model, precision, steps, flags)
            loss, posterior = largest(engine, torch, "loss", True), largest(engine, torch, "posterior", False)
            classifiers = largest(engine, torch, "classifier_loss", True)
            fine = len(torch) == steps and loss <= bound and posterior <= bound
            follows &= fine
            row = f"{model:<12} {precision:<9} {steps:>5} {loss:>9.1e} {posterior:>9.1e} {bound:>7.0e}"
            print(f"{row}  {'yes' if fine else 'NO ':<3}  {classifiers:>10.1e}", flush=True)
    return 0 if follows else 1


if __name__ == "__main__":
    sys.exit(main())
