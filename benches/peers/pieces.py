"""Parts of a step, each alone: the update, the classifiers forward and backward, and the switch. Their inputs are random
and created once."""

import torch

import averaging
import contestants
from authors import AuthorsHead
from classifiers import head


def update_broadcast(settings, y):
    """Alrao's update, unfused: each feature's learning rate is broadcast over its parameter."""
    update = with_gradients(settings)
    moved = [(parameter, update.rates[name]) for name, parameter in update.parameters.items()]

    def work():
        for parameter, rate in moved:
            parameter.addcmul_(rate, parameter.grad, value=-1)

    return torch.no_grad()(work)


def update_full(settings, y):
    """As in the authors' code: each parameter has a full-sized tensor of learning rates."""
    parameters, gradients, rates = full_sized(settings)

    def work():
        for parameter, gradient, rate in zip(parameters, gradients, rates):
            parameter.addcmul_(gradient, rate, value=-1)

    return torch.no_grad()(work)


def update_foreach(settings, y):
    """With full-sized learning rates too: for broadcast ones torch falls back to a loop over the parameters."""
    parameters, gradients, rates = full_sized(settings)
    return torch.no_grad()(lambda: torch._foreach_addcmul_(parameters, gradients, rates, -1.0))


def update_sgd(settings, y):
    """The baseline: torch's fused SGD on the same parameters."""
    return torch.optim.SGD(list(with_gradients(settings).parameters.values()), lr=0.01, fused=True).step


def with_gradients(settings):
    update = contestants.trainer(settings).update
    for parameter in update.parameters.values():
        parameter.grad = torch.randn_like(parameter)
    return update


def full_sized(settings):
    update = with_gradients(settings)
    parameters = list(update.parameters.values())
    rates = [update.rates[name].expand_as(parameter).contiguous() for name, parameter in update.parameters.items()]
    return parameters, [parameter.grad for parameter in parameters], rates


def single_backward_head(settings, y):
    """One backward pass for the gradients of all classifiers and of their input."""
    trainer = contestants.trainer(settings)
    layer, log_posterior = trainer.model.classifiers, trainer.averaging.log_posterior
    z = features(settings, layer.weight.shape[2], y)

    def work():
        z.grad = layer.weight.grad = layer.bias.grad = None
        with settings.autocast():
            head(z, layer.weight, layer.bias, y, log_posterior).objective.backward()

    return work


def authors_head(settings, y):
    """Each classifier is a separate layer, with two forward and backward passes."""
    dimension = contestants.trainer(settings).pre_classifier.dimension
    own = AuthorsHead(dimension, settings.outputs, settings.copies, *settings.eta, settings.device)
    z = features(settings, dimension, y)

    def work():
        z.grad = None
        with settings.autocast():
            own.backward(z, y)

    return work


def features(settings, dimension, y):
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    return torch.randn(len(y), dimension, device=settings.device, dtype=dtype, requires_grad=True)


def switch(settings, y):
    own = averaging.Switch(settings.copies)
    own.to(settings.device)
    losses = torch.rand(settings.copies, dtype=torch.float64, device=settings.device)
    return torch.no_grad()(lambda: own.update(losses))


def authors_switch(settings, y):
    """Includes computing the losses, and reads them back classifier by classifier."""
    own = AuthorsHead(1, settings.outputs, settings.copies, *settings.eta, settings.device)
    outputs = torch.randn(settings.copies, len(y), settings.outputs, device=settings.device)
    log_p = list(outputs.log_softmax(-1))
    return torch.no_grad()(lambda: own.switch(log_p, y))


PIECES = {
    "update-broadcast": update_broadcast,
    "update-full": update_full,
    "update-foreach": update_foreach,
    "update-sgd": update_sgd,
    "head": single_backward_head,
    "head-authors": authors_head,
    "switch": switch,
    "switch-authors": authors_switch,
}
