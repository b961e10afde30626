"""Model averaging over the classifiers: log-domain, f64 state."""

import math

import torch


def log(x):
    return math.log(x) if x > 0 else -math.inf


class Switch:
    """The switch distribution of van Erven, Grünwald and de Rooij (2008), algorithm 1. A batch is one observation.
    Row 0 of the weights may still switch; row 1 has settled on a classifier for good. Predictions of values use the weights
    before the switch moves some of them to every classifier, also to those whose outputs are huge."""

    def __init__(self, copies, theta=0.999):
        self.copies, self.theta, self.t = copies, theta, 1
        row = torch.zeros(copies, dtype=torch.float64)
        self.weights = torch.stack([row + log(theta / copies), row + log((1 - theta) / copies)])
        self.log_posterior = torch.full((copies,), -math.log(copies), dtype=torch.float64)
        self.log_value_weights = self.log_posterior

    def to(self, device):
        self.weights, self.log_posterior = self.weights.to(device), self.log_posterior.to(device)
        self.log_value_weights = self.log_value_weights.to(device)

    def update(self, losses):
        """`losses`: each classifier's mean loss on the batch, before the update; infinite if it diverged."""
        if self.copies == 1 or not losses.isfinite().any():
            return
        observed = self.weights - losses.to(torch.float64)
        filtered = observed.logsumexp(0)
        self.log_value_weights = filtered - filtered.logsumexp(0)
        switching, settled = observed
        pi = 1 / (self.t + 1)
        share = switching.logsumexp(0) + math.log(pi) - math.log(self.copies)
        switching = torch.logaddexp(switching + math.log(1 - pi), share + log(self.theta))
        settled = torch.logaddexp(settled, share + log(1 - self.theta))
        weights = torch.stack([switching, settled])
        self.weights = weights - weights.logsumexp((0, 1))
        self.log_posterior = self.weights.logsumexp(0)
        self.t += 1


class Bayesian:
    """Plain Bayesian model averaging: a classifier that has diverged once never regains weight."""

    @property
    def log_value_weights(self):
        return self.log_posterior

    def __init__(self, copies):
        self.copies = copies
        self.log_posterior = torch.full((copies,), -math.log(copies), dtype=torch.float64)

    def to(self, device):
        self.log_posterior = self.log_posterior.to(device)

    def update(self, losses):
        if self.copies == 1:
            return
        joint = self.log_posterior - losses.to(torch.float64)
        total = joint.logsumexp(0)
        # If every classifier with weight has diverged, the posterior stays as it was.
        if total.isfinite():
            self.log_posterior = joint - total
