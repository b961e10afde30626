#!/usr/bin/env python3
"""Checks that PyTorch can load the engine's checkpoints: the engine trains each model for a few steps, PyTorch loads its
`best.safetensors` strictly into the same architecture, and both predict the validation data. Exit status 1 if the
predictions differ by more than 1e-5, relative to the larger of 1 and the value."""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

import alrao
import data
from follow import RECORD

MODELS = ["mlp", "cnn", "vgg11", "mobilenetv2", "char-lstm"]
IMAGES, CHARACTERS, STEPS, BOUND = 640, 60_000, 10, 1e-5


def arguments():
    parser = argparse.ArgumentParser(description="the engine's checkpoints in PyTorch", allow_abbrev=False)
    parser.add_argument("--cifar", metavar="DIR", type=pathlib.Path, required=True, help="CIFAR-10's binary files")
    parser.add_argument("--text", metavar="FILE", type=pathlib.Path, required=True)
    parser.add_argument("--alrao", metavar="BINARY", default="target/release/alrao")
    parser.add_argument("--only", action="append", choices=MODELS, help="may be repeated")
    return parser.parse_args()


def first_data(args, folder):
    """A few images, and the beginning of the text."""
    images, text = folder / "images", folder / "text.txt"
    images.mkdir()
    with (args.cifar / "data_batch_1.bin").open("rb") as file:
        (images / "data_batch_1.bin").write_bytes(file.read(IMAGES * RECORD))
    with args.text.open(encoding="utf-8", newline="") as file:
        text.write_text(file.read(CHARACTERS), encoding="utf-8", newline="")
    return images, text


@torch.no_grad()
def predictions(model_name, source, checkpoint):
    """PyTorch's log sum_j a_j p_j of every sample."""
    args = alrao.arguments(["--model", model_name, "--data", str(source)])
    dataset = data.load(source, model_name, args.valid_split)
    trainer = alrao.Trainer(args, dataset.inputs, dataset.outputs)
    alrao.load_run(checkpoint, trainer.model)
    log_posterior = load_file(checkpoint)["alrao.switch.log_posterior"]
    outputs = trainer.logits(dataset, "valid").double()
    return (outputs.log_softmax(-1) + log_posterior[:, None]).logsumexp(1)


def difference(args, model_name, source, folder):
    run, file = folder / model_name, folder / f"{model_name}.safetensors"
    train = ["train", "--model", model_name, "--data", str(source), "--max-steps", str(STEPS), "--out", str(run), "-q"]
    for command in (train, ["eval", str(run), "--split", "valid", "--predictions", str(file), "-q"]):
        done = subprocess.run([args.alrao, *command], stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"{args.alrao} {' '.join(command)}: exit status {done.returncode}")
    engine = load_file(file)["log_probabilities"].double()
    torch_side = predictions(model_name, source, run / "best.safetensors")
    return ((engine - torch_side).abs() / torch_side.abs().clamp(min=1)).max().item(), len(engine)


def main():
    args = arguments()
    agree = True
    print(f"{'model':<12} {'samples':>7} {'difference':>10}  ok")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        images, text = first_data(args, folder)
        for model_name in args.only or MODELS:
            source = text if model_name == "char-lstm" else images
            largest, samples = difference(args, model_name, source, folder)
            fine = largest <= BOUND
            agree &= fine
            print(f"{model_name:<12} {samples:>7} {largest:>10.1e}  {'yes' if fine else 'NO'}", flush=True)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
