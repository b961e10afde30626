#!/usr/bin/env python3
"""Writes switch.safetensors: forty observations, some of them infinite, and the weights after each, by the twin in
benches/peers."""

import math
import pathlib
import sys

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))

from averaging import Bayesian, Switch  # noqa: E402

STEPS, COPIES = 40, 5


def main():
    losses = 3 * torch.rand(STEPS, COPIES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses[20:, 3] -= 2.0
    losses[7, 1] = losses[11, 0] = losses[11, 4] = math.inf
    losses[13] = math.inf
    losses[14, :4] = math.inf
    # Far apart, as after a step with too large a rate.
    losses[25, 2] = 1e5
    tensors = {"losses": losses}
    for theta in [0.999, 0.9]:
        switch, weights, posterior, filtered = Switch(COPIES, theta), [], [], []
        for loss in losses:
            switch.update(loss)
            weights.append(switch.weights)
            posterior.append(switch.log_posterior)
            filtered.append(switch.log_value_weights)
        tensors[f"weights {theta}"] = torch.stack(weights)
        tensors[f"posterior {theta}"] = torch.stack(posterior)
        tensors[f"filtered {theta}"] = torch.stack(filtered)
    bayesian, posterior = Bayesian(COPIES), []
    for loss in losses:
        bayesian.update(loss)
        posterior.append(bayesian.log_posterior)
    tensors["bayesian"] = torch.stack(posterior)
    save_file(tensors, HERE / "switch.safetensors")


if __name__ == "__main__":
    main()
