"""CIFAR-10's binary files, text as characters or words, arrays in safetensors: splits, normalisation, batches.
Only the functions that read files import numpy and safetensors, so a timed step needs neither."""

import dataclasses
import pathlib

import torch

import models

RECORD = 1 + 3 * 32 * 32


@dataclasses.dataclass
class Arrays:
    """Samples along the first axis. u8 images are scaled and normalised batch by batch; other inputs are unchanged."""

    splits: dict  # "train", "valid", "test" -> (inputs, targets)
    outputs: int  # classes, or the dimension of regression targets
    mean: torch.Tensor = None
    deviation: torch.Tensor = None

    @property
    def inputs(self):
        return tuple(self.splits["train"][0].shape[1:])

    def size(self, split):
        return len(self.splits[split][0])

    def batches(self, split, batch_size, dtype, order=None, augment=None):
        """The last batch may be short. `augment` is the generator for crops and flips."""
        inputs, targets = self.splits[split]
        order = torch.arange(len(inputs)) if order is None else order
        for indices in order.split(batch_size):
            x, y = inputs[indices], targets[indices]
            if augment is not None:
                x = crop_and_flip(x, augment)
            if x.dtype == torch.uint8:
                x = (x.to(dtype) / 255 - self.mean.to(dtype)) / self.deviation.to(dtype)
            yield x.to(dtype), y.to(dtype) if y.is_floating_point() else y


@dataclasses.dataclass
class Text:
    """A stream of characters or words, cut into columns as in PyTorch's word_language_model: an incomplete last row is
    dropped, and the targets are the stream shifted by one."""

    splits: dict  # name -> codes [length]
    vocabulary: list

    @property
    def inputs(self):
        return len(self.vocabulary)

    @property
    def outputs(self):
        return len(self.vocabulary)

    def columns(self, split, batch_size):
        stream = self.splits[split]
        rows = len(stream) // batch_size
        if rows < 2:
            raise SystemExit(f"the {split} text has {len(stream)} tokens, too few for {batch_size} columns")
        return stream[: rows * batch_size].view(batch_size, rows).t().contiguous()

    def batches(self, split, batch_size, bptt):
        columns = self.columns(split, batch_size)
        for start in range(0, len(columns) - 1, bptt):
            length = min(bptt, len(columns) - 1 - start)
            yield columns[start : start + length], columns[start + 1 : start + 1 + length].flatten()


def crop_and_flip(images, generator, padding=4):
    """Pads before normalising, since black is byte zero."""
    size = images.shape[-1]
    padded = torch.nn.functional.pad(images, [padding] * 4)
    out = torch.empty_like(images)
    for index, image in enumerate(padded):
        top, left = torch.randint(0, 2 * padding + 1, (2,), generator=generator).tolist()
        crop = image[:, top : top + size, left : left + size]
        out[index] = crop.flip(-1) if torch.rand((), generator=generator) < 0.5 else crop
    return out


def split_tail(inputs, targets, fraction):
    """The last part in file order is for validation, whatever the seed."""
    count = int(len(inputs) * fraction)
    if count == 0:
        return {"train": (inputs, targets)}
    return {"train": (inputs[:-count], targets[:-count]), "valid": (inputs[-count:], targets[-count:])}


def normalisation(images):
    """Channel mean and population standard deviation of the training part, from exact sums of its bytes."""
    mean, deviation = [], []
    for channel in images.unbind(1):
        # A histogram makes the sums exact integers: no f64 copy of the data, no rounding that depends on order.
        histogram = torch.bincount(channel.flatten(), minlength=256).to(torch.float64)
        value = torch.arange(256, dtype=torch.float64) / 255
        m = (histogram @ value / histogram.sum()).item()
        mean.append(m)
        deviation.append((histogram @ (value - m).square() / histogram.sum()).sqrt().item() or 1.0)
    as_tensor = lambda values: torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
    return as_tensor(mean), as_tensor(deviation)


def arrays(splits, outputs):
    images = splits["train"][0]
    if images.dtype != torch.uint8:
        return Arrays(splits, outputs)
    return Arrays(splits, outputs, *normalisation(images))


def read_records(path):
    import numpy

    data = numpy.fromfile(path, dtype=numpy.uint8)
    if len(data) == 0 or len(data) % RECORD:
        raise SystemExit(f"{path}: {len(data)} bytes are no whole number of records of {RECORD}")
    records = torch.from_numpy(data.reshape(-1, RECORD))
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()


def cifar(folder, valid_split):
    for place in (folder, folder / "cifar-10-batches-bin"):
        files = sorted(place.glob("*.bin"))
        if files:
            break
    else:
        raise SystemExit(f"no *.bin in {folder} nor in {folder / 'cifar-10-batches-bin'}")
    training = [read_records(path) for path in files if path.name != "test_batch.bin"]
    inputs, targets = (torch.cat(parts) for parts in zip(*training))
    splits = split_tail(inputs, targets, valid_split)
    splits |= {"test": read_records(path) for path in files if path.name == "test_batch.bin"}
    return arrays(splits, 10)


def words(part):
    lines = part.split("\n")
    return [word for line in lines[: -1 if lines[-1] == "" else None] for word in [*line.split(), "<eos>"]]


def text(path, valid_split, tokens):
    def read(file):
        with open(file, encoding="utf-8", newline="") as handle:  # newline="": no newline translation
            return handle.read()

    if path.is_dir():
        parts = {name: read(path / f"{name}.txt") for name in ("train", "valid", "test") if (path / f"{name}.txt").exists()}
    else:
        parts = {"train": read(path)}
    parts = {name: tokens(part) for name, part in parts.items()}
    vocabulary = sorted(set().union(*parts.values()))
    code = {token: index for index, token in enumerate(vocabulary)}
    splits = {name: torch.tensor([code[token] for token in part]) for name, part in parts.items()}
    count = int(len(splits["train"]) * valid_split)
    if "valid" not in splits and count:
        splits["valid"] = splits["train"][-count:]
        splits["train"] = splits["train"][:-count]
    return Text(splits, vocabulary)


def safetensors(path, valid_split):
    from safetensors.torch import load_file

    tensors = load_file(path)
    prefixes = {"train": "", "valid": "valid_", "test": "test_"}
    splits = {}
    for name, prefix in prefixes.items():
        inputs = tensors.get(prefix + "images", tensors.get(prefix + "inputs"))
        targets = tensors.get(prefix + "labels", tensors.get(prefix + "targets"))
        if inputs is not None and targets is not None:
            splits[name] = (inputs, targets)
    if "train" not in splits:
        raise SystemExit(f"{path}: needs images or inputs, and labels or targets; it has {', '.join(tensors)}")
    if "valid" not in splits:
        splits |= split_tail(*splits["train"], valid_split)
    if splits["train"][1].is_floating_point():
        outputs = splits["train"][1].shape[1]
    else:
        outputs = 1 + max(targets.max().item() for _, targets in splits.values())
    return arrays(splits, outputs)


def load(path, model, valid_split):
    path = pathlib.Path(path)
    if not path.exists():
        raise SystemExit(f"{path}: no such file or folder")
    if model in models.LSTMS:
        return text(path, valid_split, list if model == "char-lstm" else words)
    return cifar(path, valid_split) if path.is_dir() else safetensors(path, valid_split)
