#!/usr/bin/env python3
"""Writes optimizer.safetensors: parameters after some updates by torch's own optimisers, with a parameter group for each
feature: a learning rate for every feature is nothing but that."""

import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
STEPS = 7
CASES = {
    "sgd": (torch.optim.SGD, {}),
    "sgd weight decay": (torch.optim.SGD, {"weight_decay": 0.1}),
    "sgd momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "sgd momentum weight decay": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
    "adam weight decay": (torch.optim.Adam, {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
}
# Elements of a parameter, consecutive elements of a feature, features: a linear layer and its bias, an embedding whose
# features are its columns, the gates of a recurrent layer, which share rates.
PARAMETERS = [(5 * 7, 7, 5), (5, 1, 5), (9 * 4, 1, 4), (4 * 3 * 2, 2, 3)]


def main():
    generator = torch.Generator().manual_seed(0)
    elements = sum(length for length, _, _ in PARAMETERS)
    initial = torch.randn(elements, generator=generator, dtype=torch.float64)
    gradients = torch.randn(STEPS, elements, generator=generator, dtype=torch.float64)
    rates, places = [], []
    for length, inner, features in PARAMETERS:
        places += [len(rates) + e // inner % features for e in range(length)]
        rates += (10.0 ** (2 * torch.rand(features, generator=generator, dtype=torch.float64) - 2)).tolist()
    places = torch.tensor(places)

    tensors = {"initial": initial, "gradients": gradients, "rates": torch.tensor(rates, dtype=torch.float64)}
    for name, (optimizer, settings) in CASES.items():
        leaves = [initial[places == feature].clone().requires_grad_() for feature in range(len(rates))]
        groups = [{"params": [leaf], "lr": rate} for leaf, rate in zip(leaves, rates)]
        optimizer = optimizer(groups, lr=0.0, **settings)
        for gradient in gradients:
            for feature, leaf in enumerate(leaves):
                leaf.grad = gradient[places == feature].clone()
            optimizer.step()
        result = torch.empty_like(initial)
        for feature, leaf in enumerate(leaves):
            result[places == feature] = leaf.detach()
        tensors[name] = result
    save_file(tensors, HERE / "optimizer.safetensors")


if __name__ == "__main__":
    main()
