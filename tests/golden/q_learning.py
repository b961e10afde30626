#!/usr/bin/env python3
"""Writes q_learning.safetensors: the first updates of small Q-networks in f64 by the twin in benches/peers, on transitions that
are drawn as the engine draws them. q_learning.rs has the same table of cases."""

import copy
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))

import q_network  # noqa: E402

OBSERVATION, ACTIONS, HIDDEN = 3, 4, (16, 12)
TRANSITIONS, BATCH, UPDATES = 50, 8, 10
SEED = 2**32 + 7
REPLAY = 10  # the number of the purpose

# Name, settings. What is not said is the default.
CASES = [
    ("alrao", {"error_clip": 1.0, "tau": 0.8}),
    ("alrao of five", {"error_clip": 1e9, "copies": 5, "discount": 0.9, "eta": (1e-4, 0.5)}),
    ("sgd", {"optimizer": "sgd", "lr": 0.1, "error_clip": 0.5}),
    ("adam", {"optimizer": "adam", "lr": 0.01}),
]


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. (2011) in NumPy's unsigned numbers of 64 bits."""
    word = np.uint64(0xFFFFFFFF)
    a, b, c, d = (np.uint64(x) for x in counter)
    left, right = (np.uint64(x) for x in key)
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = (second >> np.uint64(32)) ^ b ^ left, second & word, (first >> np.uint64(32)) ^ d ^ right, first & word
        left, right = (left + np.uint64(0x9E3779B9)) & word, (right + np.uint64(0xBB67AE85)) & word
    return [int(x) for x in (a, b, c, d)]


# A known answer of the Random123 distribution.
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def drawn_rows(update):
    key = [SEED & 0xFFFFFFFF, SEED >> 32]
    bits = [philox([sample, 0, update, REPLAY << 16], key)[0] for sample in range(BATCH)]
    return torch.tensor([own * TRANSITIONS >> 32 for own in bits])


def draw_transitions():
    """Rewards so large that the limit on errors counts; every fifth episode ends. In f32, which f64 holds exactly."""
    random = torch.Generator().manual_seed(3)
    observations = torch.randn(2, TRANSITIONS, OBSERVATION, generator=random)
    actions = torch.randint(ACTIONS, (TRANSITIONS,), generator=random)
    rewards = 2 * torch.randn(TRANSITIONS, generator=random)
    terminated = torch.arange(TRANSITIONS) % 5 == 4
    return observations, actions, rewards, terminated


def gradients_by_autograd(own, batch):
    """Of Alrao's classifiers: autograd once for their own losses, with z held, and once for what is below, with the classifiers
    held and their losses weighed by the responsibilities."""
    settings, model = own.settings, copy.deepcopy(own.model)
    posterior = own.averaging.log_posterior

    def means(network, x, layer):
        return torch.einsum("bd,nkd->bnk", x, layer.weight) + layer.bias

    with torch.no_grad():
        z = own.target.pre_classifier(batch.next_observations)
        future = torch.einsum("n,bnk->bk", own.averaging.log_value_weights.exp(), means(own.target, z, own.target.classifiers)).max(1).values
        values = batch.rewards + settings.discount * batch.continues * future
    z = model.pre_classifier(batch.observations)
    frozen = copy.deepcopy(model.classifiers).requires_grad_(False)
    samples = torch.arange(BATCH)

    def losses(x, layer):
        chosen = means(model, x, layer)[samples, :, batch.actions]
        targets = values[:, None].expand_as(chosen)
        huber = F.huber_loss(chosen, targets, delta=settings.error_clip, reduction="none")
        return chosen, huber

    chosen, mixed = losses(z, frozen)
    likelihoods = torch.distributions.Normal(chosen.detach(), 1.0).log_prob(values[:, None])
    responsibilities = torch.softmax(likelihoods + posterior, 1)
    (losses(z.detach(), model.classifiers)[1].sum() + (responsibilities * mixed).sum()).div(BATCH).backward()
    return [parameter.grad for parameter in model.parameters()]


def state(own):
    """By the engine's names: those of Alrao's classifiers, of which the other learners have one."""
    if isinstance(own, q_network.QClassifiers):
        return dict(own.model.state_dict())
    features, output = own.model
    return dict(features.state_dict()) | {"classifiers.weight": output.weight.detach()[None], "classifiers.bias": output.bias.detach()[None]}


def run(name, changed, transitions):
    observations, actions, rewards, terminated = transitions
    torch.manual_seed(11)
    # Drawn in f32, so that the file holds what f64 starts from.
    first = q_network.learner(q_network.Settings(OBSERVATION, ACTIONS, HIDDEN, **changed))
    settings = q_network.Settings(OBSERVATION, ACTIONS, HIDDEN, **changed, dtype=torch.float64)
    is_alrao = settings.optimizer == "alrao"
    own = q_network.QClassifiers(settings, first.drawn) if is_alrao else q_network.Single(settings)
    for network in (own.model, own.target):
        network.load_state_dict(first.model.state_dict())
    replay = q_network.Replay(TRANSITIONS, settings)
    beside = torch.stack([actions.double(), rewards.double(), 1.0 - terminated.double()], 1)
    replay.push(torch.cat([observations[0].double(), observations[1].double(), beside], 1).tolist())

    tensors = {f"{name}.init.{key}": value.clone() for key, value in state(first).items()}
    if is_alrao:
        tensors |= {f"{name}.rates.{key}": value.clone() for key, value in first.drawn.items()}
    losses, classifier_losses, posteriors = [], [], []
    for update in range(1, UPDATES + 1):
        batch = replay.batch(drawn_rows(update))
        if is_alrao:
            expected = gradients_by_autograd(own, batch)
            loss, of_each = own.learn(batch)
            for found, wanted in zip(own.parameters, expected):
                torch.testing.assert_close(found.grad, wanted, rtol=1e-12, atol=1e-12)
            losses.append(loss)
            classifier_losses.append(of_each)
            posteriors.append(own.averaging.log_posterior.exp())
        else:
            # Not the negative log-likelihood, but the loss whose gradient is cut off.
            own.learn(batch)
    if is_alrao:
        tensors[f"{name}.loss"] = torch.stack(losses)
        tensors[f"{name}.classifier_loss"] = torch.stack(classifier_losses)
        tensors[f"{name}.posterior"] = torch.stack(posteriors)
    tensors |= {f"{name}.final.{key}": value.clone() for key, value in state(own).items()}
    tensors[f"{name}.values"] = own.values(observations[0].double())
    print(name, [float(loss) for loss in losses])
    return tensors


def main():
    transitions = draw_transitions()
    observations, actions, rewards, terminated = transitions
    tensors = {
        "observations": observations[0].contiguous(),
        "next_observations": observations[1].contiguous(),
        "actions": actions.to(torch.int32),
        "rewards": rewards,
        "terminated": terminated.to(torch.uint8),
    }
    for name, changed in CASES:
        tensors |= run(name, changed, transitions)
    save_file(tensors, HERE / "q_learning.safetensors")


if __name__ == "__main__":
    main()
