"""A step as in the Alrao authors' implementation: each classifier is a separate layer, the head runs forward and backward
twice, each parameter has a full-sized tensor of learning rates, and statistics are read back classifier by classifier.
It is for timing only; `alrao.py` is for comparing results."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import learning_rates


class AuthorsAlrao:
    def __init__(self, pre_classifier, outputs, copies, eta_min, eta_max, theta=0.999):
        self.pre_classifier = pre_classifier
        device = next(pre_classifier.parameters()).device
        self.head = AuthorsHead(pre_classifier.dimension, outputs, copies, eta_min, eta_max, device, theta)
        rates = learning_rates.draw(pre_classifier, eta_min, eta_max, torch.Generator().manual_seed(0))
        shaped = learning_rates.broadcastable(pre_classifier, rates)
        self.parameters = [
            (parameter, shaped[name].to(device).expand_as(parameter).contiguous())
            for name, parameter in pre_classifier.named_parameters()
        ]

    def step(self, x, y):
        for parameter, _ in self.parameters:
            parameter.grad = None
        z = self.pre_classifier(x)
        if not z.isfinite().all():
            raise ValueError("the features are not finite")
        log_p = self.head.backward(z, y)
        with torch.no_grad():
            for parameter, rate in self.parameters:
                parameter.addcmul_(parameter.grad, rate, value=-1)
            self.head.update()
            self.head.switch(log_p, y)


class AuthorsHead:
    """The classifiers and the switch over them."""

    def __init__(self, dimension, outputs, copies, eta_min, eta_max, device, theta=0.999):
        self.copies, self.device, self.theta, self.t = copies, device, theta, 1
        self.layers = nn.ModuleList(nn.Linear(dimension, outputs) for _ in range(copies)).to(device)
        self.optimizers = [
            torch.optim.SGD(layer.parameters(), lr=rate)
            for layer, rate in zip(self.layers, learning_rates.classifier_rates(copies, eta_min, eta_max))
        ]
        self.weights = self.rows(math.log(part / copies) for part in (theta, 1 - theta))
        self.log_posterior = torch.full((copies,), -math.log(copies), device=device)

    def rows(self, values):
        return torch.stack([torch.full((self.copies,), value, device=self.device) for value in values])

    def backward(self, z, y):
        """Backpropagates the mixture's loss to `z`, then each classifier's own loss. Returns the log-probabilities."""
        log_p = [layer(z).log_softmax(-1) for layer in self.layers]
        mixture = (torch.stack(log_p, -1) + self.log_posterior).logsumexp(-1)
        F.nll_loss(mixture, y).backward()

        features = z.detach()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        for layer in self.layers:
            loss = F.nll_loss(layer(features).log_softmax(-1), y)
            if loss.isfinite().all():
                loss.backward()
        return log_p

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()

    def switch(self, log_p, y):
        for p in log_p:
            self.performance = F.nll_loss(p, y).item(), p.argmax(1).eq(y).sum().item()
        losses = torch.stack([F.nll_loss(p, y) for p in log_p])
        if any(math.isnan(loss) for loss in losses):
            raise ValueError("a classifier's loss is NaN")
        self.weights -= losses
        pi = 1 / (self.t + 1)
        share = self.weights[0].logsumexp(0) + math.log(pi) - math.log(self.copies)
        self.weights[0] += math.log(1 - pi)
        added = self.rows(math.log(p) for p in (self.theta, 1 - self.theta)) + share
        self.weights = torch.logaddexp(self.weights, added)
        self.weights -= self.weights.logsumexp((0, 1))
        self.log_posterior = self.weights.logsumexp(0)
        self.t += 1
