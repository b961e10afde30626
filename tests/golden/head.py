#!/usr/bin/env python3
"""Writes head.safetensors: what the head has to give for batches with and without infinities and NaN, by the twin in
benches/peers and torch's autograd."""

import math
import pathlib
import sys

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benches" / "peers"))

from classifiers import affine, head  # noqa: E402

SAMPLES, INPUTS, COPIES, OUTPUTS = 5, 3, 4, 6


def draw(seed, outputs=OUTPUTS):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    z, weight, bias = normal(SAMPLES, INPUTS), normal(COPIES, outputs, INPUTS), normal(COPIES, outputs)
    log_posterior = normal(COPIES).log_softmax(0)
    classes = torch.randint(outputs, (SAMPLES,), generator=generator)
    return z, weight, bias, log_posterior, classes, normal(SAMPLES, outputs)


def mixture(z, weight, bias, log_posterior):
    """Log-probabilities of the classes, [samples, outputs]."""
    return (affine(z, weight, bias).log_softmax(-1) + log_posterior[:, None]).logsumexp(1)


def cases():
    z, weight, bias, log_posterior, classes, _ = draw(0)
    classes[:3] = mixture(z, weight, bias, log_posterior).argmax(1)[:3]
    yield "plain", z, weight, bias, log_posterior, classes
    z, weight, bias, log_posterior, _, values = draw(1, 2)
    yield "regression", z, weight, bias, log_posterior, values

    # Copy 1 gives NaN everywhere, copy 2 minus infinity for classes 3 and 4: usable only where the class is another.
    z, weight, bias, log_posterior, classes, _ = draw(2)
    classes[:] = torch.tensor([0, 3, 1, 4, 2])
    weight[1, 0, 0] = math.nan
    bias[2, 3:5] = -math.inf
    yield "broken copies", z, weight, bias, log_posterior, classes

    # Copy 0 has an infinite weight, copy 3 a weight whose product overflows for some samples.
    z, weight, bias, log_posterior, classes, _ = draw(3)
    weight[0, 2, 1] = math.inf
    weight[3, 1, 2] = 1.5e308
    z[0, 2], z[1, 2] = 2.0, -3.0
    classes[:] = torch.tensor([0, 2, 1, 4, 2])
    yield "overflow", z, weight, bias, log_posterior, classes

    # A copy without any weight still learns from its own loss.
    z, weight, bias, log_posterior, classes, _ = draw(4)
    log_posterior[1] = -math.inf
    yield "no weight", z, weight, bias, log_posterior, classes

    # All weight on a copy that is broken for some classes: these samples have no usable copy.
    z, weight, bias, log_posterior, classes, _ = draw(5)
    log_posterior[:] = torch.tensor([-math.inf, 0.0, -math.inf, -math.inf])
    classes[:] = torch.tensor([0, 3, 1, 3, 2])
    bias[1, 3] = -math.inf
    yield "dead samples", z, weight, bias, log_posterior, classes

    z, weight, bias, log_posterior, classes, _ = draw(6)
    weight[:] = math.nan
    yield "nothing finite", z, weight, bias, log_posterior, classes

    # Posteriors and likelihoods far below the smallest number.
    z, weight, bias, log_posterior, classes, _ = draw(7)
    weight[:2] *= 1e3
    log_posterior[:] = torch.tensor([-2000.0, -1500.0, -2500.0, -3000.0])
    yield "tiny", z, weight, bias, log_posterior, classes

    z, weight, bias, log_posterior, _, values = draw(8, 2)
    weight[0, 1, 1] = math.inf
    bias[2] = 1e200
    yield "broken regression", z, weight, bias, log_posterior, values


def broken_inputs():
    """Samples that are not finite themselves: no copy can judge them, and they teach nothing. Autograd's 0 * inf is left
    out by giving it the other samples alone."""
    z, weight, bias, log_posterior, classes, _ = draw(9)
    good = torch.tensor([0, 2, 4])
    leaves = [x.clone().requires_grad_() for x in (z[good], weight, bias)]
    out = head(*leaves, classes[good], log_posterior)
    out.objective.backward()
    dz, dweight, dbias = [leaf.grad * len(good) / SAMPLES for leaf in leaves]
    z[1, 0], z[3, 1] = math.inf, math.nan
    infinite = torch.full((COPIES,), math.inf, dtype=torch.float64)
    return {
        "z": z,
        "weight": weight,
        "bias": bias,
        "log_posterior": log_posterior,
        "targets": classes.to(torch.int32),
        "objective": out.objective.reshape(1) * len(good) / SAMPLES,
        "loss": infinite[:1],
        "correct": torch.tensor([out.correct], dtype=torch.int32),
        "classifier_losses": infinite,
        "flagged": torch.ones(COPIES, dtype=torch.uint8),
        "dz": torch.zeros_like(z).index_copy(0, good, dz),
        "dweight": dweight,
        "dbias": dbias,
    }


def chosen_likelihoods(z, weight, bias, chosen, values):
    """log p_ij(v_i) where one output of each sample is observed, [samples, copies]. The other outputs' parameters are
    not even looked at: each sample takes its own row of each copy."""
    means = torch.einsum("bd,nbd->bn", z, weight[:, chosen]) + bias[:, chosen].T
    return torch.distributions.Normal(means, 1.0, validate_args=False).log_prob(values[:, None])


def chosen_head(z, weight, bias, log_posterior, chosen, values):
    """The head of Q-learning. Autograd once for the copies' own losses, with z held, and once for the mixture's, with the
    copies held. What no copy can judge is left out before: autograd's 0 * inf."""
    z, weight, bias = (x.clone().requires_grad_() for x in (z, weight, bias))
    usable = chosen_likelihoods(z, weight, bias, chosen, values).detach().isfinite()
    flagged = ~usable.all(0)
    alive = (usable & (log_posterior > -math.inf)).any(1)

    def likelihoods(z, weight, bias):
        """Rows of zeros, and the pairs that are no use at minus infinity."""
        rows = torch.where(usable.T[:, :, None], weight[:, chosen], 0.0)
        shifts = torch.where(usable, bias[:, chosen].T, 0.0)
        means = torch.einsum("bd,nbd->bn", z, rows) + shifts
        errors = torch.where(usable, means - values[:, None], 0.0)
        return -0.5 * errors.square() - 0.5 * math.log(2 * math.pi)

    own = torch.where(usable, likelihoods(z.detach(), weight, bias), 0.0).sum(0)
    joint = torch.where(usable, likelihoods(z, weight.detach(), bias.detach()) + log_posterior, -math.inf)
    mixture = joint[alive].logsumexp(1).sum()
    objective = -(own.sum() + mixture) / SAMPLES
    objective.backward()
    infinite = torch.tensor(math.inf, dtype=torch.float64)
    return {
        "z": z,
        "weight": weight,
        "bias": bias,
        "log_posterior": log_posterior,
        "chosen": chosen.to(torch.int32),
        "targets": values,
        "objective": objective.reshape(1),
        "loss": (-mixture / SAMPLES if alive.all() else infinite).reshape(1),
        "correct": torch.zeros(1, dtype=torch.int32),
        "classifier_losses": torch.where(flagged, infinite, -own / SAMPLES),
        "flagged": flagged.to(torch.uint8),
        "dz": z.grad,
        "dweight": weight.grad,
        "dbias": bias.grad,
    }


def clip_errors(case, limit):
    """The same head where no error above `limit` is learnt from, by hand: g_ij is the clipped error over the batch."""
    z, weight, bias, chosen, values = (case[key].detach() for key in ["z", "weight", "bias", "chosen", "targets"])
    chosen = chosen.long()
    errors = torch.einsum("bd,nbd->bn", z, weight[:, chosen]) + bias[:, chosen].T - values[:, None]
    g = errors.clamp(-limit, limit) / SAMPLES
    shares = (case["log_posterior"] - 0.5 * errors.square()).softmax(1)
    dz, dweight, dbias = torch.zeros_like(z), torch.zeros_like(weight), torch.zeros_like(bias)
    for i, output in enumerate(chosen):
        dz[i] = (shares[i] * g[i]) @ weight[:, output]
        dweight[:, output] += g[i][:, None] * z[i]
        dbias[:, output] += g[i]
    return case | {"dz": dz, "dweight": dweight, "dbias": dbias, "limit": torch.tensor([limit], dtype=torch.float64)}


def chosen_cases():
    z, weight, bias, log_posterior, chosen, values = draw(11, 3)
    yield "chosen", chosen_head(z, weight, bias, log_posterior, chosen, values[:, 0])

    z, weight, bias, log_posterior, chosen, values = draw(14, 3)
    unclipped = chosen_head(z, weight, bias, log_posterior, chosen, values[:, 0])
    errorless = clip_errors(unclipped, math.inf)
    assert all(torch.allclose(errorless[key], unclipped[key]) for key in ["dz", "dweight", "dbias"])
    yield "clipped chosen", clip_errors(unclipped, 0.75)

    # Copy 1 is broken at output 2, which samples 1 and 4 chose, and copy 3 at output 0, which none did; no copy can tell
    # anything of a target that is no number.
    z, weight, bias, log_posterior, chosen, values = draw(12, 3)
    chosen[:] = torch.tensor([1, 2, 1, 1, 2])
    bias[1, 2] = math.inf
    weight[3, 0] = math.nan
    values[3, 0] = math.nan
    yield "broken chosen", chosen_head(z, weight, bias, log_posterior, chosen, values[:, 0])

    z, weight, bias, log_posterior, chosen, values = draw(13, 1)
    log_posterior[2] = -math.inf
    yield "chosen of one", chosen_head(z, weight, bias, log_posterior, chosen, values[:, 0])


def predictions():
    z, weight, bias, log_posterior, _, _ = draw(10)
    yield "classes", z, weight, bias, log_posterior, mixture(z, weight, bias, log_posterior)
    broken = weight.clone()
    broken[1, 0, 0] = math.nan
    rest = torch.tensor([0, 2, 3])
    mixed = mixture(z, weight[rest], bias[rest], log_posterior[rest])
    yield "classes without a broken copy", z, broken, bias, log_posterior, mixed
    values = (affine(z, weight, bias) * log_posterior.exp()[:, None]).sum(1)
    yield "values", z, weight, bias, log_posterior, values


def main():
    tensors = {f"broken inputs.{key}": value.detach().clone() for key, value in broken_inputs().items()}
    for name, case in chosen_cases():
        tensors |= {f"{name}.{key}": value.detach().clone() for key, value in case.items()}
    for name, *values in predictions():
        keys = ["z", "weight", "bias", "log_posterior", "prediction"]
        tensors |= {f"{name}.{key}": value.clone() for key, value in zip(keys, values)}
    for name, z, weight, bias, log_posterior, targets in cases():
        leaves = [x.requires_grad_() for x in (z, weight, bias)]
        out = head(*leaves, targets, log_posterior)
        out.objective.backward()
        case = {
            "z": z,
            "weight": weight,
            "bias": bias,
            "log_posterior": log_posterior,
            "targets": targets if targets.is_floating_point() else targets.to(torch.int32),
            "objective": out.objective.reshape(1),
            "loss": torch.tensor([out.loss], dtype=torch.float64),
            "correct": torch.tensor([out.correct], dtype=torch.int32),
            "classifier_losses": out.classifier_loss,
            "flagged": out.diverged.to(torch.uint8),
            "dz": z.grad,
            "dweight": weight.grad,
            "dbias": bias.grad,
        }
        tensors |= {f"{name}.{key}": value.detach().clone() for key, value in case.items()}
    save_file(tensors, HERE / "head.safetensors")


if __name__ == "__main__":
    main()
