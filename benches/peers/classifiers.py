"""The copies of the last layer, their losses and the mixture of them; autograd does every derivative."""

import dataclasses
import math

import torch
from torch import nn


class Classifiers(nn.Module):
    """All copies in one weight [copies, outputs, dimension] and one bias [copies, outputs], each copy with initial
    values of its own, drawn as nn.Linear draws them."""

    def __init__(self, copies, outputs, dimension):
        super().__init__()
        linears = [nn.Linear(dimension, outputs) for _ in range(copies)]
        self.weight = nn.Parameter(torch.stack([linear.weight.detach() for linear in linears]))
        self.bias = nn.Parameter(torch.stack([linear.bias.detach() for linear in linears]))

    def forward(self, z):
        return affine(z, self.weight, self.bias)


class Alrao(nn.Module):
    """A pre-classifier followed by the copies. The pre-classifier's children are registered here directly, so that
    `state_dict` has the architecture's own names (`features.0.weight`) beside `classifiers.weight`."""

    def __init__(self, pre_classifier, outputs, copies):
        super().__init__()
        for name, child in pre_classifier.named_children():
            self.add_module(name, child)
        # Stored past nn.Module's registration: a second registration would put every name in the state_dict twice.
        self.__dict__["pre_classifier"] = pre_classifier
        self.classifiers = Classifiers(copies, outputs, pre_classifier.dimension)

    def forward(self, x):
        """The outputs of every copy, [samples, copies, outputs]."""
        return self.classifiers(self.pre_classifier(x))


def affine(z, weight, bias):
    return torch.einsum("bd,nkd->bnk", z, weight) + bias


def log_likelihood(outputs, targets):
    """log p_ij(y_i), [samples, copies]. Whole-number targets are classes; others are regressed on, each copy being a
    Gaussian of variance 1 around its outputs."""
    if targets.is_floating_point():
        constant = 0.5 * targets.shape[1] * math.log(2 * math.pi)
        return -0.5 * (outputs - targets[:, None, :]).square().sum(-1) - constant
    index = targets[:, None, None].expand(-1, outputs.shape[1], 1)
    return outputs.log_softmax(-1).gather(-1, index).squeeze(-1)


@dataclasses.dataclass
class Head:
    objective: torch.Tensor  # its gradient is what every parameter learns from
    loss: float  # the mixture's, mean over the samples
    classifier_loss: torch.Tensor  # [copies], f64; infinite where flagged
    flagged: torch.Tensor  # [copies], bool: some sample had no finite likelihood under this copy
    correct: int


def head(z, weight, bias, targets, log_posterior):
    """Losses of a batch and one objective for a single backward pass: copy j's parameters learn from copy j's loss,
    because the mixture sees them detached; z learns from the mixture, because the copies' losses see it detached."""
    samples = z.shape[0]
    with torch.no_grad():
        outputs = affine(z, weight, bias)
        usable = log_likelihood(outputs, targets).isfinite()
    flagged = ~usable.all(0)

    def replaced(values):
        # The unusable pairs have to leave before the softmax: a gradient of zero times NaN is NaN.
        return torch.where(usable[:, :, None], values, 0.0)

    own = torch.where(usable, log_likelihood(replaced(affine(z.detach(), weight, bias)), targets), 0.0)

    # A weight that overflowed has outputs of infinity at best; zero keeps 0 * inf out of z's gradient, and the true
    # outputs are put back as constants.
    mixed = affine(z, only_finite(weight.detach()), only_finite(bias.detach()))
    mixed = torch.where(outputs.isfinite(), mixed, outputs)
    joint = torch.where(usable, log_likelihood(replaced(mixed), targets) + log_posterior.to(z.dtype), -math.inf)
    alive = (joint > -math.inf).any(1)
    log_mixture = torch.where(alive[:, None], joint, 0.0).logsumexp(1)
    mixture = torch.where(alive, log_mixture, 0.0)

    loss = -torch.where(alive, log_mixture, -math.inf).detach().double().mean().item()
    classifier_loss = torch.where(flagged, math.inf, -own.detach().double().mean(0))
    return Head(
        objective=-(own.sum() + mixture.sum()) / samples,
        loss=loss,
        classifier_loss=classifier_loss,
        flagged=flagged,
        correct=correct(outputs, usable, targets, log_posterior),
    )


def only_finite(values):
    return torch.where(values.isfinite(), values, 0.0)


def correct(outputs, usable, targets, log_posterior):
    """How many samples the mixture's likeliest class is right for; nothing of the kind exists for regression."""
    if targets.is_floating_point():
        return 0
    joint = outputs.log_softmax(-1) + log_posterior.to(outputs.dtype)[:, None]
    mixture = torch.where(usable[:, :, None], joint, -math.inf).logsumexp(1)
    alive = mixture.isfinite().any(1)
    return ((mixture.argmax(1) == targets) & alive).sum().item()
