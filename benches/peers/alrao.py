#!/usr/bin/env python3
"""Learning with Random Learning Rates (Blier, Wolinski and Ollivier) in plain eager PyTorch: an independent program to
check the engine against. It has the flags of `alrao train` that matter for that, and writes the same lines. Only the
functions that read or write safetensors import it, so a timed step needs no safetensors."""

import argparse
import copy
import json
import math
import sys
import time

import torch

import averaging
import data
import learning_rates
import models
from classifiers import Alrao, affine, head
from update import Update, clip

# Each purpose has its own random stream from the same seed. So reading initial weights from a file, for example, does not
# change the order of the samples.
PURPOSES = ["rates", "order", "augment"]
STEPS_WITHOUT_LOSS = 100


def generator(seed, purpose):
    return torch.Generator().manual_seed(seed * len(PURPOSES) + PURPOSES.index(purpose))


def arguments(argv=None):
    parser = argparse.ArgumentParser(description="Alrao in PyTorch, to compare with", allow_abbrev=False)
    add = parser.add_argument
    add("--model", default="cnn", choices=models.NAMES)
    add("--data", required=True, help="folder with CIFAR-10's binary files, text file, or FILE.safetensors")
    add("--width", type=float, default=1.0)
    add("--hidden", help="mlp's hidden layers, 256,256 by default; an empty list is none")
    add("--optimizer", default="alrao", choices=["alrao", "sgd", "adam", "alrao-adam"])
    add("--eta-min", type=float)
    add("--eta-max", type=float)
    add("--classifiers", type=int)
    add("--theta", type=float, default=0.999)
    add("--averaging", default="switch", choices=["switch", "bayesian"])
    add("--lr", type=float, help="0.01, or Adam's 0.001")
    add("--momentum", type=float, default=0.0)
    add("--weight-decay", type=float, default=0.0)
    add("--clip", type=float, default=0.0)
    add("--dropout", type=float)
    add("--bptt", type=int)
    add("--epochs", type=int, default=20)
    add("--max-steps", type=int)
    add("--batch-size", type=int)
    add("--seed", type=int, default=0)
    add("--patience", type=int, default=20)
    add("--valid-split", type=float, default=0.2)
    add("--augment", action="store_true")
    add("--order", default="shuffled", choices=["shuffled", "sequential"])
    add("--precision", default="f32", choices=["f32", "f64"])
    add("--threads", type=int)
    add("--init", metavar="FILE.safetensors")
    add("--rates", metavar="FILE.safetensors")
    add("--save-init", metavar="FILE.safetensors", help="write the initial parameters")
    add("--save-rates", metavar="FILE.safetensors", help="write the pre-classifier's learning rates")
    add("--metrics", metavar="FILE.jsonl", help="standard output if not given")
    add("--log-every", type=int, default=20)
    add("--logits", metavar="FILE.safetensors", help="write every copy's outputs on --split at the end")
    add("--split", default="valid", choices=["train", "valid", "test"])
    args = parser.parse_args(argv)

    recurrent = args.model in models.LSTMS
    for flag, belongs in [("hidden", args.model == "mlp"), ("dropout", recurrent or args.model == "alexnet"), ("bptt", recurrent)]:
        if getattr(args, flag) is not None and not belongs:
            parser.error(f"--{flag} is no setting of {args.model}")
    if recurrent and args.augment:
        parser.error("--augment is for images")

    single = args.optimizer in ("sgd", "adam")
    if single and args.classifiers not in (None, 1):
        parser.error(f"--optimizer {args.optimizer} has one classifier")
    defaults = {
        "hidden": "256,256",
        "eta_min": 1e-3 if recurrent else 1e-5,
        "eta_max": 100.0 if recurrent else 10.0,
        "classifiers": 1 if single else 6 if recurrent else 10,
        "lr": 1e-3 if args.optimizer == "adam" else 0.01,
        "dropout": 0.5 if args.model == "alexnet" else 0.2,
        "bptt": 70,
        "batch_size": 20 if recurrent else 32,
    }
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.hidden = [int(size) for size in args.hidden.split(",") if size.strip()]
    if not 0 < args.eta_min <= args.eta_max:
        parser.error("--eta-min must be positive and not above --eta-max")
    return args


def load_run(path, model):
    """Loads the weights of a checkpoint of the engine into `model`, an Alrao module of the same architecture."""
    from safetensors.torch import load_file

    model.load_state_dict({k: v for k, v in load_file(path).items() if not k.startswith("alrao.")})
    return model


def load_init(path, model):
    """Loads initial values. Unlike a checkpoint, the file may lack the batch counters."""
    from safetensors.torch import load_file

    own = model.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    values = {name: value for name, value in load_file(path).items() if not name.startswith("alrao.")}
    model.load_state_dict(values | counters)


class Trainer:
    """A model, its learning rates and the average over its classifiers, with the step that updates all three."""

    def __init__(self, args, inputs, outputs, device="cpu"):
        self.args = args
        self.dtype = {"f32": torch.float32, "f64": torch.float64}[args.precision]
        torch.manual_seed(args.seed)
        pre_classifier = models.build(args.model, inputs, args.hidden, args.width, args.dropout)
        # Always drawn in f32, so that both precisions, and a file of them, start from the same numbers.
        self.model = Alrao(pre_classifier, outputs, args.classifiers)
        if args.init:
            load_init(args.init, self.model)
        self.model.to(device, self.dtype)
        self.pre_classifier = pre_classifier
        self.rates = self.draw_rates()
        if args.averaging == "bayesian":
            self.averaging = averaging.Bayesian(args.classifiers)
        else:
            self.averaging = averaging.Switch(args.classifiers, args.theta)

        shaped = learning_rates.broadcastable(pre_classifier, self.rates)
        per_classifier = torch.tensor(self.classifier_rates(), dtype=self.dtype)
        shaped["classifiers.weight"] = per_classifier[:, None, None]
        shaped["classifiers.bias"] = per_classifier[:, None]
        shaped = {name: rates.to(device) for name, rates in shaped.items()}
        self.averaging.to(device)
        self.update = Update(
            dict(self.model.named_parameters()),
            shaped,
            momentum=args.momentum,
            weight_decay=args.weight_decay,
            adam=args.optimizer.endswith("adam"),
        )

    def draw_rates(self):
        args = self.args
        if args.rates:
            from safetensors.torch import load_file

            rates = load_file(args.rates)
            learning_rates.check(self.pre_classifier, rates)
            return rates
        low, high = (args.eta_min, args.eta_max) if args.optimizer.startswith("alrao") else (args.lr, args.lr)
        return learning_rates.draw(self.pre_classifier, low, high, generator(args.seed, "rates"))

    def classifier_rates(self):
        args = self.args
        if not args.optimizer.startswith("alrao"):
            return [args.lr]
        return learning_rates.classifier_rates(args.classifiers, args.eta_min, args.eta_max)

    def reset_state(self):
        if isinstance(self.pre_classifier, models.TextLstm):
            self.pre_classifier.reset()

    def head(self, x, y):
        classifiers = self.model.classifiers
        z = self.pre_classifier(x)
        return head(z, classifiers.weight, classifiers.bias, y, self.averaging.log_posterior)

    def step(self, x, y):
        self.model.zero_grad()
        out = self.head(x, y)
        out.objective.backward()
        if self.args.clip:
            clip(list(self.pre_classifier.parameters()), self.args.clip)
        self.update.step(out.diverged)
        self.averaging.update(out.classifier_loss)
        return out

    def batches(self, dataset, split, epoch_order=None, augment=None, batch_size=None):
        if isinstance(dataset, data.Text):
            return dataset.batches(split, self.args.batch_size, self.args.bptt)
        return dataset.batches(split, batch_size or self.args.batch_size, self.dtype, epoch_order, augment)

    @torch.no_grad()
    def evaluate(self, dataset, split):
        """Mean loss and accuracy over every sample, under the current posterior."""
        self.model.eval()
        self.reset_state()
        # Larger batches only save time. (Text keeps its batch size, since its columns carry state.)
        totals = Totals()
        for x, y in self.batches(dataset, split, batch_size=max(self.args.batch_size, 200)):
            totals.add(self.head(x, y), len(y))
        self.model.train()
        return totals.loss(), totals.accuracy(y)

    @torch.no_grad()
    def logits(self, dataset, split):
        self.model.eval()
        self.reset_state()
        outputs = [self.model(x) for x, _ in self.batches(dataset, split)]
        self.model.train()
        return torch.cat(outputs)

    def posterior(self):
        return self.averaging.log_posterior.exp().tolist()


class Totals:
    def __init__(self):
        self.losses, self.correct, self.samples = 0.0, 0, 0

    def add(self, out, samples):
        self.losses += out.loss * samples
        self.correct += out.correct
        self.samples += samples

    def loss(self):
        return self.losses / self.samples

    def accuracy(self, targets):
        return None if targets.is_floating_point() else self.correct / self.samples


class Metrics:
    def __init__(self, path):
        self.file = open(path, "w") if path else sys.stdout

    def write(self, kind, **values):
        def finite(value):
            if isinstance(value, list):
                return [finite(v) for v in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        line = {"kind": kind} | {name: finite(value) for name, value in values.items()}
        print(json.dumps(line, separators=(",", ":")), file=self.file, flush=True)


def train(args, trainer, dataset, metrics):
    """Trains, and returns the exit status."""
    best, best_loss, best_epoch = None, math.inf, 0
    order, augment = generator(args.seed, "order"), generator(args.seed, "augment") if args.augment else None
    step, streak = 0, 0
    for epoch in range(1, args.epochs + 1):
        trainer.model.train()
        trainer.reset_state()
        began, totals = time.perf_counter(), Totals()
        permutation = None
        if args.order == "shuffled" and isinstance(dataset, data.Arrays):
            permutation = torch.randperm(dataset.size("train"), generator=order)
        for x, y in trainer.batches(dataset, "train", permutation, augment):
            out = trainer.step(x, y)
            step += 1
            totals.add(out, len(y))
            if args.log_every and step % args.log_every == 0:
                metrics.write(
                    "step",
                    step=step,
                    epoch=epoch,
                    loss=out.loss,
                    accuracy=None if y.is_floating_point() else out.correct / len(y),
                    classifier_loss=out.classifier_loss.tolist(),
                    posterior=trainer.posterior(),
                )
            streak = 0 if math.isfinite(out.loss) else streak + 1
            if streak == STEPS_WITHOUT_LOSS:
                print(f"diverged: no finite loss in {streak} steps", file=sys.stderr)
                return 1
            if step == args.max_steps:
                break
        seconds = time.perf_counter() - began
        valid_loss, valid_accuracy = trainer.evaluate(dataset, "valid") if "valid" in dataset.splits else (None, None)
        metrics.write(
            "epoch",
            epoch=epoch,
            train_loss=totals.loss(),
            train_accuracy=totals.accuracy(y),
            valid_loss=valid_loss,
            valid_accuracy=valid_accuracy,
            posterior=trainer.posterior(),
            seconds=seconds,
            samples_per_second=totals.samples / seconds,
        )
        # Without validation the last epoch counts as the best.
        if best is None or valid_loss is None or valid_loss < best_loss:
            best_loss, best_epoch = math.inf if valid_loss is None else valid_loss, epoch
            best = copy.deepcopy(trainer.model.state_dict()), trainer.averaging.log_posterior
        if step == args.max_steps or epoch - best_epoch >= args.patience:
            break
    if "test" in dataset.splits and best is not None:
        weights, trainer.averaging.log_posterior = best
        trainer.model.load_state_dict(weights)
        loss, accuracy = trainer.evaluate(dataset, "test")
        metrics.write("test", epoch=best_epoch, loss=loss, accuracy=accuracy)
    return 0


def main(argv=None):
    args = arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    dataset = data.load(args.data, args.model, args.valid_split)
    trainer = Trainer(args, dataset.inputs, dataset.outputs)
    if args.save_init:
        save({name: to_f32(value) for name, value in trainer.model.state_dict().items()}, args.save_init)
    if args.save_rates:
        # A layer's weight and bias share one tensor; safetensors rejects shared tensors.
        save({name: value.clone() for name, value in trainer.rates.items()}, args.save_rates)
    status = 0 if args.max_steps == 0 else train(args, trainer, dataset, Metrics(args.metrics))
    if args.logits:
        save({"logits": trainer.logits(dataset, args.split)}, args.logits)
    return status


def save(tensors, path):
    from safetensors.torch import save_file

    save_file(tensors, path)


def to_f32(value):
    return value.to(torch.float32) if value.is_floating_point() else value


if __name__ == "__main__":
    sys.exit(main())
