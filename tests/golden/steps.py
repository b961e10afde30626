#!/usr/bin/env python3
"""Writes steps.safetensors: small models of every kind, their first steps in f64 by the twin in benches/peers, and
after each step the losses and the posterior. steps.rs has the same table of cases."""

import pathlib
import sys

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))

import alrao  # noqa: E402
import models  # noqa: E402

CLASSES, OUTPUTS, CHARACTERS, WORDS = 10, 2, 12, 60

# Name, steps, flags. Where nothing is said, rates have the default range.
MLP = ["--model", "mlp", "--hidden", "16,12"]
GENTLE = ["--eta-max", "0.1", "--clip", "0.25"]
CASES = [
    ("mlp", 10, MLP),
    ("mlp regression", 10, MLP),
    ("mlp alrao-adam", 10, [*MLP, "--optimizer", "alrao-adam"]),
    ("mlp momentum", 10, [*MLP, "--momentum", "0.9", "--weight-decay", "0.001"]),
    ("mlp bayesian", 10, [*MLP, "--averaging", "bayesian"]),
    ("mlp sgd", 10, [*MLP, "--optimizer", "sgd"]),
    ("mlp adam", 10, [*MLP, "--optimizer", "adam", "--weight-decay", "0.001"]),
    ("cnn", 10, ["--model", "cnn", "--width", "0.125"]),
    ("vgg11", 10, ["--model", "vgg11", "--width", "0.03125"]),
    *[(name, 10, ["--model", name, "--width", "0.03125", *GENTLE]) for name in ["vgg13", "vgg16", "vgg19"]],
    ("alexnet", 10, ["--model", "alexnet", "--width", "0.015625", "--dropout", "0"]),
    ("senet18", 10, ["--model", "senet18", "--width", "0.03125"]),
    # Each step of these magnifies rounding errors: with the default rates and no clip, two runs of the twin whose
    # initial values differ by 1e-16 are 0.06 to 0.3 apart after ten steps of resnet50 (three draws of the signs), with
    # these flags at most 5e-12.
    ("mobilenetv2", 10, ["--model", "mobilenetv2", "--width", "0.1", *GENTLE]),
    ("googlenet", 10, ["--model", "googlenet", "--width", "0.03125", *GENTLE]),
    ("resnet50", 10, ["--model", "resnet50", "--width", "0.03125", *GENTLE]),
    ("densenet121", 10, ["--model", "densenet121", "--width", "0.03125", *GENTLE]),
    ("char-lstm", 10, ["--model", "char-lstm", "--width", "0.16", "--dropout", "0", "--clip", "0.25"]),
    ("word-lstm", 10, ["--model", "word-lstm", "--width", "0.16", "--dropout", "0", "--clip", "0.25"]),
]


def draw_data():
    """Five batches of 4 images, channels last; ten of 8 vectors; ten windows of 4 columns of 6 characters, and of 6 words."""
    random = torch.Generator().manual_seed(1)

    def below(limit, *shape):
        return torch.randint(limit, shape, generator=random, dtype=torch.int32)

    return {
        "images": below(256, 5, 4, 32, 32, 3).to(torch.uint8),
        "labels": below(CLASSES, 5, 4),
        "vectors": torch.randn(10, 8, 9, generator=random),
        "vectors.labels": below(CLASSES, 10, 8),
        "vectors.values": torch.randn(10, 8, OUTPUTS, generator=random),
        "text": below(CHARACTERS, 10 * 6 + 1, 4),
        "words": below(WORDS, 10 * 6 + 1, 4),
    }


def batch(data, name, step):
    """Bytes become numbers that f64 holds exactly."""
    if name in models.LSTMS:
        rows = data["text" if name == "char-lstm" else "words"].long()[6 * step : 6 * step + 7]
        return rows[:-1], rows[1:].flatten()
    if not name.startswith("mlp"):
        images = data["images"][step % 5].permute(0, 3, 1, 2).contiguous()
        if name in models.IMAGES:
            images = images.repeat(1, 1, 2, 2)
        return images.double() / 64 - 2, data["labels"][step % 5].long()
    vectors = data["vectors"][step].double()
    if name == "mlp regression":
        return vectors, data["vectors.values"][step].double()
    return vectors, data["vectors.labels"][step].long()


def shapes(name):
    if name in models.LSTMS:
        return (CHARACTERS, CHARACTERS) if name == "char-lstm" else (WORDS, WORDS)
    if name.startswith("mlp"):
        return (9,), OUTPUTS if name == "mlp regression" else CLASSES
    return (3, 64, 64) if name in models.IMAGES else (3, 32, 32), CLASSES


def state(trainer):
    return {
        name: value for name, value in trainer.model.state_dict().items() if not name.endswith("num_batches_tracked")
    }


def run(data, name, steps, flags):
    args = alrao.arguments([*flags, "--data", "golden", "--precision", "f64"])
    trainer = alrao.Trainer(args, *shapes(name))
    tensors = {f"{name}.init.{key}": value.float() for key, value in state(trainer).items()}
    tensors |= {f"{name}.rates.{key}": value.clone() for key, value in trainer.rates.items()}
    losses, classifier_losses, posteriors = [], [], []
    for step in range(steps):
        out = trainer.step(*batch(data, name, step))
        losses.append(out.loss)
        classifier_losses.append(out.classifier_loss)
        posteriors.append(trainer.averaging.log_posterior.exp())
    tensors[f"{name}.loss"] = torch.tensor(losses, dtype=torch.float64)
    tensors[f"{name}.classifier_loss"] = torch.stack(classifier_losses)
    tensors[f"{name}.posterior"] = torch.stack(posteriors)
    # The sum of each parameter and running statistic at the end, in the order of their names.
    final = state(trainer)
    tensors[f"{name}.sums"] = torch.stack([final[key].sum() for key in sorted(final)])
    return tensors


def main():
    data = draw_data()
    tensors = dict(data)
    for name, steps, flags in CASES:
        tensors |= run(data, name, steps, flags)
        print(name, tensors[f"{name}.loss"].tolist())
    save_file(tensors, HERE / "steps.safetensors")


if __name__ == "__main__":
    main()
