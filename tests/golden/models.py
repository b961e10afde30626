#!/usr/bin/env python3
"""The architectures in PyTorch. Writes models.txt: every parameter and running statistic at width 0.25, by name and
shape; and models.safetensors: at width 0.125 in f64, without dropout, with weights made by a hash, the features of four images in
training and after it in evaluation, and of every parameter's gradient two numbers (a weighted sum and the sum of
squares)."""

import math
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benches" / "peers"))
import models

torch.set_default_dtype(torch.float64)


def uniform(count, seed):
    """Numbers in [0, 1) that any language can make again."""
    h = (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(seed * 7919 + 1)) * numpy.uint64(2654435761)
    mask = numpy.uint64(0xFFFFFFFF)
    h &= mask
    h ^= h >> numpy.uint64(16)
    h = (h * numpy.uint64(2246822519)) & mask
    h ^= h >> numpy.uint64(13)
    return torch.from_numpy(h.astype(numpy.float64) / 2.0**32)


def signed(shape, seed):
    return (2 * uniform(math.prod(shape), seed) - 1).reshape(shape)


# The others take images of 32 by 32.
SIZES = {"alexnet": (256, 224), "resnet50": (64, 72), "densenet121": (64, 72)}


def listing():
    lines = []
    for name in models.NAMES:
        inputs = 50 if name in models.LSTMS else (3, *SIZES.get(name, (32, 32)))
        for key, tensor in models.build(name, inputs, width=0.25).state_dict().items():
            if not key.endswith("num_batches_tracked"):
                lines.append(f"{name} {key} {'x'.join(map(str, tensor.shape))}\n")
    (HERE / "models.txt").write_text("".join(lines))


def values(name):
    size = SIZES.get(name, (32, 32))
    model = models.build(name, (3, *size), width=0.125, dropout=0)
    parameters = list(model.parameters())
    for seed, parameter in enumerate(parameters):
        if parameter.dim() == 1:
            initial = 0.5 + uniform(parameter.numel(), seed)
        else:
            bound = 2 / math.sqrt(math.prod(parameter.shape[1:]))
            initial = signed(parameter.shape, seed) * bound
        parameter.data = initial.reshape(parameter.shape).float().double()
    x = signed((4, 3, *size), 1000)
    z = model(x)
    z.backward(signed(z.shape, 1001))
    sums = [
        [(p.grad * signed(p.shape, 2000 + seed)).sum(), p.grad.square().sum()] for seed, p in enumerate(parameters)
    ]
    model.eval()
    return {
        f"{name}.training": z.detach(),
        f"{name}.evaluation": model(x).detach(),
        f"{name}.gradients": torch.tensor(sums),
    }


listing()
tensors = {}
for name in ["cnn", "vgg11", "mobilenetv2", "googlenet", "senet18", *SIZES]:
    tensors |= values(name)
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, HERE / "models.safetensors")
