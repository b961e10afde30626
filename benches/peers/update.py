"""SGD and Adam with a learning rate for every feature; plain SGD and plain Adam are the case of equal rates. An
element whose gradient is not finite is skipped, with its moments."""

import math

import torch


class Update:
    def __init__(self, parameters, rates, momentum=0.0, weight_decay=0.0, adam=False, betas=(0.9, 0.999), epsilon=1e-8):
        """`parameters` and `rates`: dictionaries with the same names; each rate broadcasts to its parameter's shape."""
        self.parameters, self.rates = parameters, rates
        self.momentum, self.weight_decay, self.adam = momentum, weight_decay, adam
        self.betas, self.epsilon = betas, epsilon
        self.steps = 0
        self.first = {name: torch.zeros_like(p) for name, p in parameters.items()} if momentum or adam else {}
        self.second = {name: torch.zeros_like(p) for name, p in parameters.items()} if adam else {}

    @torch.no_grad()
    def step(self, diverged=None):
        """`diverged`: classifiers to skip in this step, a mask over the first axis of `classifiers.*`."""
        self.steps += 1
        for name, parameter in self.parameters.items():
            learns = parameter.grad.isfinite()
            if diverged is not None and name.startswith("classifiers."):
                learns &= ~diverged.view([-1] + [1] * (parameter.dim() - 1))
            gradient = parameter.grad + self.weight_decay * parameter if self.weight_decay else parameter.grad
            move = self.rates[name] * self.direction(name, gradient, learns)
            parameter.copy_(torch.where(learns, parameter - move, parameter))

    def direction(self, name, gradient, learns):
        if self.adam:
            beta1, beta2 = self.betas
            m = self.moment(self.first, name, lambda m: beta1 * m + (1 - beta1) * gradient, learns)
            v = self.moment(self.second, name, lambda v: beta2 * v + (1 - beta2) * gradient * gradient, learns)
            denominator = v.sqrt() / math.sqrt(1 - beta2**self.steps) + self.epsilon
            return m / (1 - beta1**self.steps) / denominator
        if self.momentum:
            return self.moment(self.first, name, lambda v: self.momentum * v + gradient, learns)
        return gradient

    @staticmethod
    def moment(moments, name, new, learns):
        old = moments[name]
        moments[name] = torch.where(learns, new(old), old)
        return moments[name]


@torch.no_grad()
def clip(parameters, limit):
    """Scales the gradients so that their joint norm stays below the limit. The norm is over the finite elements, since
    otherwise a single overflow would stop every feature of the network."""
    square = sum(
        torch.where(p.grad.isfinite(), p.grad, 0.0).double().square().sum().item() for p in parameters
    )
    factor = min(1.0, limit / (math.sqrt(square) + 1e-6))
    for parameter in parameters:
        parameter.grad.mul_(factor)
