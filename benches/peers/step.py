#!/usr/bin/env python3
"""Time and memory of a training step in eager PyTorch: plain SGD, Alrao as its authors' code does it, and the
single-backward Alrao of `alrao.py`. Random inputs of CIFAR-10's shape, batch 32, or 20 columns of 70 characters."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

MODELS = ["vgg19", "mobilenetv2", "cnn", "char-lstm"]
OPTIMIZERS = ["sgd", "authors", "alrao"]
WARM_UP = 3


def arguments():
    parser = argparse.ArgumentParser(description="ms and samples/s of a PyTorch training step", allow_abbrev=False)
    parser.add_argument("--model", action="append", choices=MODELS, help="all four if not given; may be repeated")
    parser.add_argument("--optimizer", action="append", choices=OPTIMIZERS, help="all three if not given")
    parser.add_argument("--steps", type=int, default=10, help="timed steps; the median is reported")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true", help="images and weights in torch.channels_last")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(model_name, optimizer, steps, threads, channels_last):
    # torch is imported here and not above: a child's peak memory starts from its parent's, which must stay small.
    import torch

    import alrao
    import models
    from authors import AuthorsAlrao

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if optimizer != "alrao":
        models.BatchNorm2d = torch.nn.BatchNorm2d  # torch's own, without the guard that only Alrao's runs need
    recurrent = model_name == "char-lstm"
    outputs, copies = (50, 6) if recurrent else (10, 10)
    if recurrent:
        x, y = torch.randint(50, (70, 20)), torch.randint(50, (70 * 20,))
    else:
        x, y = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    layout = torch.channels_last if channels_last and not recurrent else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    # An optimiser's first use imports some 100 MB of torch's compiler, which is no memory of the step's.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0).zero_grad()
    before = resident()

    if optimizer == "alrao":
        args = alrao.arguments(["--model", model_name, "--data", "random"])
        trainer = alrao.Trainer(args, 50 if recurrent else (3, 32, 32), outputs)
        step = trainer.step
    else:
        pre_classifier = models.build(model_name, 50 if recurrent else (3, 32, 32))
        pre_classifier.to(memory_format=layout)
        if optimizer == "authors":
            low, high = (1e-3, 100.0) if recurrent else (1e-5, 10.0)
            step = AuthorsAlrao(pre_classifier, outputs, copies, low, high).step
        else:
            step = plain_sgd(torch, pre_classifier, outputs)

    times = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        step(x, y)
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times[WARM_UP:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "model": model_name,
        "optimizer": optimizer,
        "ms": round(seconds * 1e3, 3),
        "samples_per_second": round(len(y) / seconds, 1),
        "peak_bytes": peak,
        "threads": threads,
        "torch": torch.__version__,
    }


def plain_sgd(torch, pre_classifier, outputs):
    linear = torch.nn.Linear(pre_classifier.dimension, outputs)
    optimizer = torch.optim.SGD([*pre_classifier.parameters(), *linear.parameters()], lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(linear(pre_classifier(x)), y).backward()
        optimizer.step()

    return step


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    args = arguments()
    if args.here:
        row = measure(args.model[0], args.optimizer[0], args.steps, args.threads, args.channels_last)
        print(json.dumps(row))
        return
    if not args.json:
        print(f"{'model':<12} {'optimizer':<10} {'ms/step':>9} {'samples/s':>10} {'peak MB':>8}")
    for model in args.model or MODELS:
        for optimizer in args.optimizer or OPTIMIZERS:
            command = [sys.executable, __file__, "--here", "--model", model, "--optimizer", optimizer]
            command += ["--steps", str(args.steps), "--threads", str(args.threads)]
            command += ["--channels-last"] if args.channels_last else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                sys.exit(done.returncode)
            row = json.loads(done.stdout)
            if args.json:
                print(json.dumps(row), flush=True)
            else:
                rate, peak = row["samples_per_second"], row["peak_bytes"] / 1e6
                print(f"{model:<12} {optimizer:<10} {row['ms']:>9.2f} {rate:>10.0f} {peak:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
