"""The classifiers, their losses and their mixture; autograd computes all gradients."""

import dataclasses
import math

import torch
from torch import nn


class Classifiers(nn.Module):
    """All classifiers in one weight [classifiers, outputs, dimension] and one bias [classifiers, outputs]. Each has its
    own initial values, drawn as nn.Linear draws them."""

    def __init__(self, copies, outputs, dimension):
        super().__init__()
        linears = [nn.Linear(dimension, outputs) for _ in range(copies)]
        self.weight = nn.Parameter(torch.stack([linear.weight.detach() for linear in linears]))
        self.bias = nn.Parameter(torch.stack([linear.bias.detach() for linear in linears]))

    def forward(self, z):
        return affine(z, self.weight, self.bias)


class Alrao(nn.Module):
    """A pre-classifier followed by the classifiers. The pre-classifier's children are registered here directly, so that
    `state_dict` has the architecture's own names (`features.0.weight`) beside `classifiers.weight`."""

    def __init__(self, pre_classifier, outputs, copies):
        super().__init__()
        for name, child in pre_classifier.named_children():
            self.add_module(name, child)
        # Bypasses nn.Module's registration: registered again, every name would be in the state_dict twice.
        self.__dict__["pre_classifier"] = pre_classifier
        self.classifiers = Classifiers(copies, outputs, pre_classifier.dimension)

    def forward(self, x):
        """The outputs of all classifiers, [samples, classifiers, outputs]."""
        return self.classifiers(self.pre_classifier(x))


def affine(z, weight, bias):
    return torch.einsum("bd,nkd->bnk", z, weight) + bias


def log_likelihood(outputs, targets):
    """log p_ij(y_i), [samples, classifiers]. Integer targets are classes; float targets are regression, where each
    classifier is a Gaussian of variance 1 around its outputs."""
    if targets.is_floating_point():
        constant = 0.5 * targets.shape[1] * math.log(2 * math.pi)
        return -0.5 * (outputs - targets[:, None, :]).square().sum(-1) - constant
    index = targets[:, None, None].expand(-1, outputs.shape[1], 1)
    return outputs.log_softmax(-1).gather(-1, index).squeeze(-1)


@dataclasses.dataclass
class Head:
    objective: torch.Tensor  # every parameter learns from its gradient
    loss: float  # the mixture's, mean over the samples
    classifier_loss: torch.Tensor  # [classifiers], f64; infinite where diverged
    diverged: torch.Tensor  # [classifiers], bool: no finite likelihood for some sample
    correct: int


def head(z, weight, bias, targets, log_posterior):
    """Losses of a batch, and one objective for a single backward pass. The mixture's loss has the classifiers' parameters
    detached, so each classifier learns from its own loss; the classifiers' losses have z detached, so z learns from the
    mixture."""
    samples = z.shape[0]
    with torch.no_grad():
        outputs = affine(z, weight, bias)
        usable = log_likelihood(outputs, targets).isfinite()
    diverged = ~usable.all(0)

    def replaced(values):
        # Replace unusable pairs before the softmax: a zero gradient times NaN is NaN.
        return torch.where(usable[:, :, None], values, 0.0)

    own = torch.where(usable, log_likelihood(replaced(affine(z.detach(), weight, bias)), targets), 0.0)

    # Infinite weights would give 0 * inf in z's gradient. So they are replaced by zero, and the true outputs are put back
    # as constants.
    mixed = affine(z, only_finite(weight.detach()), only_finite(bias.detach()))
    mixed = torch.where(outputs.isfinite(), mixed, outputs)
    joint = torch.where(usable, log_likelihood(replaced(mixed), targets) + log_posterior.to(z.dtype), -math.inf)
    has_finite = (joint > -math.inf).any(1)
    log_mixture = torch.where(has_finite[:, None], joint, 0.0).logsumexp(1)
    mixture = torch.where(has_finite, log_mixture, 0.0)

    loss = -torch.where(has_finite, log_mixture, -math.inf).detach().double().mean().item()
    classifier_loss = torch.where(diverged, math.inf, -own.detach().double().mean(0))
    return Head(
        objective=-(own.sum() + mixture.sum()) / samples,
        loss=loss,
        classifier_loss=classifier_loss,
        diverged=diverged,
        correct=correct(outputs, usable, targets, log_posterior),
    )


def only_finite(values):
    return torch.where(values.isfinite(), values, 0.0)


def correct(outputs, usable, targets, log_posterior):
    """The number of samples whose likeliest class under the mixture is correct; 0 in regression."""
    if targets.is_floating_point():
        return 0
    joint = outputs.log_softmax(-1) + log_posterior.to(outputs.dtype)[:, None]
    mixture = torch.where(usable[:, :, None], joint, -math.inf).logsumexp(1)
    has_finite = mixture.isfinite().any(1)
    return ((mixture.argmax(1) == targets) & has_finite).sum().item()
