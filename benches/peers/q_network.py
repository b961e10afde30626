"""Deep Q-learning with a soft-updated target network: with one output layer and torch's optimisers, or with Alrao's
classifiers and the switch. An update uses as few operations as eager PyTorch allows."""

import copy
import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F

import averaging
import learning_rates
import models
from classifiers import Alrao

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclasses.dataclass
class Settings:
    observation: int
    actions: int
    hidden: tuple = (64, 64)
    optimizer: str = "alrao"
    lr: float = 0.01
    eta: tuple = (1e-5, 10.0)
    copies: int = 10
    theta: float = 0.999
    discount: float = 0.99
    tau: float = 0.9  # fraction of itself that the target keeps in an update
    error_clip: float = 1.0
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


class Replay:
    """The last transitions, one per row: observation, next observation, action, reward, continues."""

    def __init__(self, capacity, settings):
        self.observation = settings.observation
        self.rows = torch.zeros(capacity, 2 * settings.observation + 3, dtype=settings.dtype, device=settings.device)
        self.seen = 0

    def push(self, rows):
        rows = torch.tensor(rows, dtype=self.rows.dtype)
        first, capacity = self.seen % len(self.rows), len(self.rows)
        if first + len(rows) <= capacity:
            self.rows[first : first + len(rows)] = rows
        else:
            self.rows[(first + torch.arange(len(rows))) % capacity] = rows.to(self.rows.device)
        self.seen += len(rows)

    def draw(self, count):
        return torch.randint(min(self.seen, len(self.rows)), (count,), device=self.rows.device)

    def batch(self, indices):
        rows, n = self.rows[indices], self.observation
        return Batch(rows[:, :n], rows[:, n : 2 * n], rows[:, 2 * n].long(), rows[:, 2 * n + 1], rows[:, 2 * n + 2])


@dataclasses.dataclass
class Batch:
    observations: torch.Tensor
    next_observations: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    continues: torch.Tensor


def pre_classifier(settings):
    return models.Mlp(settings.observation, settings.hidden, activation=torch.tanh)


def frozen_copy(model):
    return copy.deepcopy(model).requires_grad_(False)


class Single:
    """One output layer, updated by torch's SGD or Adam."""

    def __init__(self, settings):
        self.settings = settings
        features = pre_classifier(settings)
        self.model = nn.Sequential(features, nn.Linear(features.dimension, settings.actions))
        self.model.to(settings.device, settings.dtype)
        self.target = frozen_copy(self.model)
        self.parameters, self.targets = list(self.model.parameters()), list(self.target.parameters())
        kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.SGD
        self.optimizer = kind(self.parameters, lr=settings.lr, fused=True)
        self.is_compiled = settings.optimizer.endswith("compiled")
        if self.is_compiled:
            self.loss = torch.compile(self.loss, mode="reduce-overhead")

    def loss(self, batch):
        """The Huber loss: its gradient at the chosen value is the error, clamped to the limit."""
        with torch.no_grad():
            best = self.target(batch.next_observations).amax(1)
            values = torch.addcmul(batch.rewards, batch.continues, best, value=self.settings.discount)
        chosen = self.model(batch.observations).gather(1, batch.actions[:, None]).squeeze(1)
        return F.huber_loss(chosen, values, delta=self.settings.error_clip)

    def learn(self, batch):
        if self.is_compiled and self.settings.device == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.targets, self.parameters, 1 - self.settings.tau)
        return loss.detach()

    @torch.no_grad()
    def values(self, observations):
        return self.model(observations)


class QClassifiers:
    """Alrao's classifiers, their rates and the switch. Tanh and the clamped errors keep every number finite, so unlike
    `alrao.py` this has no checks for divergence."""

    def __init__(self, settings, rates=None):
        """`rates`: one vector for each of the hidden layers' parameters; drawn if not given."""
        self.settings = settings
        features = pre_classifier(settings)
        self.model = Alrao(features, settings.actions, settings.copies).to(settings.device, settings.dtype)
        self.target = frozen_copy(self.model)
        named = dict(self.model.named_parameters())
        self.parameters, self.targets = list(named.values()), list(self.target.parameters())
        self.averaging = averaging.Switch(settings.copies, settings.theta)
        self.averaging.to(settings.device)
        self.drawn = rates or learning_rates.draw(features, *settings.eta, torch.Generator().manual_seed(torch.initial_seed()))
        shaped = learning_rates.broadcastable(features, self.drawn)
        own = torch.tensor(learning_rates.classifier_rates(settings.copies, *settings.eta), dtype=settings.dtype)
        shaped |= {"classifiers.weight": own[:, None, None], "classifiers.bias": own[:, None]}
        # Full-sized, so that one operation updates all parameters.
        self.rates = [shaped[name].to(p).expand_as(p).contiguous() for name, p in named.items()]

    @torch.no_grad()
    def learn(self, batch):
        """Returns the mixture's loss and each classifier's. The head's gradients are written out by hand: a classifier learns
        from its own errors, the pre-classifier from all errors, weighted by responsibility."""
        settings, layer = self.settings, self.model.classifiers
        best = self.mean(self.target, batch.next_observations).amax(1)
        values = torch.addcmul(batch.rewards, batch.continues, best, value=settings.discount)
        with torch.enable_grad():
            z = self.model.pre_classifier(batch.observations)
        outputs = self.outputs(layer, z)
        index = batch.actions[:, None, None].expand(-1, settings.copies, 1)
        errors = outputs.gather(2, index).squeeze(2) - values[:, None]
        likelihoods = errors.square().mul_(-0.5).sub_(HALF_LOG_TWO_PI)
        joint = likelihoods + self.averaging.log_posterior.to(settings.dtype)
        limited = errors.clamp_(-settings.error_clip, settings.error_clip).div_(len(z))
        g = torch.zeros_like(outputs).scatter_(2, index, limited[:, :, None])
        shared = g * joint.softmax(1)[:, :, None]
        layer.weight.grad = (g.flatten(1).T @ z).view_as(layer.weight)
        layer.bias.grad = g.sum(0)
        for parameter in self.model.pre_classifier.parameters():
            parameter.grad = None
        z.backward(shared.flatten(1) @ layer.weight.flatten(0, 1))
        torch._foreach_addcmul_(self.parameters, [p.grad for p in self.parameters], self.rates, -1.0)
        losses = likelihoods.mean(0).neg_()
        self.averaging.update(losses)
        torch._foreach_lerp_(self.targets, self.parameters, 1 - settings.tau)
        return -joint.logsumexp(1).mean(), losses

    @staticmethod
    def outputs(layer, z):
        """[samples, classifiers, actions], in one matrix product."""
        return torch.addmm(layer.bias.flatten(), z, layer.weight.flatten(0, 1).T).view(len(z), *layer.bias.shape)

    def mean(self, model, observations):
        return self.averaging.log_value_weights.exp().to(self.settings.dtype) @ self.outputs(
            model.classifiers, model.pre_classifier(observations)
        )

    @torch.no_grad()
    def values(self, observations):
        return self.mean(self.model, observations)


def learner(settings):
    return QClassifiers(settings) if settings.optimizer == "alrao" else Single(settings)
