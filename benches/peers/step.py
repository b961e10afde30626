#!/usr/bin/env python3
"""Time and memory of a training step in PyTorch: plain SGD, eager, fused and compiled, Alrao as in its authors' code, and
the single-backward Alrao of `alrao.py`. The input is a batch of 32 random images of the model's usual size, or 20 columns
of 70 tokens: 50 distinct characters, or 9,999 words.
On a GPU the LSTM is cuDNN's, times come from CUDA events, and `peaks.py` runs first to measure the GPU's peaks."""

import argparse
import json
import os
import resource
import subprocess
import sys

import clock

MODELS = ["vgg19", "mobilenetv2", "cnn", "char-lstm"]
OTHERS = ["vgg11", "vgg13", "vgg16", "googlenet", "senet18", "alexnet", "resnet50", "densenet121", "word-lstm"]
OPTIMIZERS = ["sgd", "sgd-fused", "sgd-compiled", "sgd-autotuned", "authors", "alrao"]
USUAL = ["sgd", "authors", "alrao"]
WARM_UP = 3


def arguments():
    parser = argparse.ArgumentParser(description="ms and samples/s of a PyTorch training step", allow_abbrev=False)
    parser.add_argument("--model", action="append", choices=[*MODELS, *OTHERS], help="if not given: " + ", ".join(MODELS) + "; may be repeated")
    parser.add_argument(
        "--optimizer", action="append", choices=OPTIMIZERS, help="if not given: on cuda all, on cpu " + ", ".join(USUAL)
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help="tf32 for a GPU; bf16 by autocast")
    parser.add_argument("--batch-size", type=int, help="samples of a step, or columns [default: 32; LSTMs 20]")
    parser.add_argument("--steps", type=int, help="timed steps; the median is reported [default: cpu 10, cuda 100]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true", help="images and weights in torch.channels_last")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cpu" and args.precision == "tf32":
        parser.error("--precision tf32 is for a GPU; use --device cuda")
    args.steps = args.steps or (100 if args.device == "cuda" else 10)
    args.optimizer = args.optimizer or (OPTIMIZERS if args.device == "cuda" else USUAL)
    return args


def measure(args):
    # torch is imported here and not above: a child's peak memory includes its parent's, which must stay small.
    import torch

    import contestants

    way, device = args.optimizer[0], args.device
    settings = contestants.Settings(args.model[0], device, args.precision, args.batch_size)
    settings.channels_last = args.channels_last and not settings.recurrent
    contestants.set_backends(args.precision, args.threads)
    x, y = contestants.batch(settings)
    # An optimiser's first use imports about 100 MB of torch's compiler, which must not count as the step's memory.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0).zero_grad()
    before = resident()
    work = contestants.step(way, settings, x, y)
    ms = clock.milliseconds(torch, device, work, args.steps, WARM_UP)
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "model": settings.model,
        "optimizer": way,
        "device": device,
        "precision": args.precision,
        "ms": round(ms, 3),
        "samples_per_second": round(len(y) / ms * 1e3, 1),
        "peak_bytes": peak,
        "threads": args.threads,
        "torch": torch.__version__,
    }


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_own_process(args, model, optimizer):
    """The row, or the error: a failure to compile must not end the other measurements."""
    command = [sys.executable, __file__, "--here", "--model", model, "--optimizer", optimizer]
    command += ["--steps", str(args.steps), "--threads", str(args.threads)]
    command += ["--device", args.device, "--precision", args.precision]
    command += ["--batch-size", str(args.batch_size)] if args.batch_size else []
    command += ["--channels-last"] if args.channels_last else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"model": model, "optimizer": optimizer, "error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def show(args, row):
    if args.json:
        print(json.dumps(row), flush=True)
    elif "error" in row:
        print(f"{row['model']:<12} {row['optimizer']:<13} failed: {row['error']}", flush=True)
    else:
        rate, peak = row["samples_per_second"], row["peak_bytes"] / 1e6
        print(f"{row['model']:<12} {row['optimizer']:<13} {row['ms']:>9.2f} {rate:>10.0f} {peak:>8.0f}", flush=True)


def main():
    args = arguments()
    if args.here:
        print(json.dumps(measure(args)))
        return
    if args.device == "cuda":
        # In the same run, since clocks and other load change over time.
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peaks.py")
        subprocess.run([sys.executable, here, "--device", "cuda"] + ["--json"] * args.json, check=True)
    if not args.json:
        print(f"{'model':<12} {'optimizer':<13} {'ms/step':>9} {'samples/s':>10} {'peak MB':>8}")
    failed = False
    for model in args.model or MODELS:
        for optimizer in args.optimizer:
            row = in_own_process(args, model, optimizer)
            failed |= "error" in row
            show(args, row)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
