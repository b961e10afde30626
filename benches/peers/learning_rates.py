"""One learning rate per feature, drawn once, log-uniformly. A parameter's rates are a vector over its features. A layer's
weight and bias share their rates, a batch norm has its own, and an LSTM's four gates share those of each unit."""

import math

import torch
from torch import nn


def log_uniform(count, eta_min, eta_max, generator):
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    low, high = math.log(eta_min), math.log(eta_max)
    # Rounded to f32, so that files and runs in either precision have the same numbers.
    return (low + u * (high - low)).exp().clamp(eta_min, eta_max).to(torch.float32)


def draw(pre_classifier, eta_min, eta_max, generator):
    """A vector of rates for each trainable parameter, by name."""
    rates = {}
    for module_name, module in pre_classifier.named_modules():
        names = [name for name, _ in module.named_parameters(recurse=False)]
        if not names:
            continue
        if isinstance(module, nn.LSTM):
            for layer in range(module.num_layers):
                unit = log_uniform(module.hidden_size, eta_min, eta_max, generator)
                for name in names:
                    if name.endswith(f"_l{layer}"):
                        rates[f"{module_name}.{name}"] = unit.repeat(4)
        else:
            features = module.weight.shape[feature_axis(module)]
            shared = log_uniform(features, eta_min, eta_max, generator)
            for name in names:
                rates[f"{module_name}.{name}"] = shared
    return rates


def feature_axis(module):
    """An embedding's features are its columns: a row is a token, not a unit."""
    return 1 if isinstance(module, nn.Embedding) else 0


def check(pre_classifier, rates):
    """Raises an error that lists every missing or unknown name and every wrong shape."""
    wanted = {}
    for module_name, module in pre_classifier.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            axis = feature_axis(module)
            wanted[f"{module_name}.{name}"] = (parameter.shape[axis],)
    problems = [f"{name}: missing" for name in wanted.keys() - rates.keys()]
    problems += [f"{name}: not a parameter" for name in rates.keys() - wanted.keys()]
    for name in wanted.keys() & rates.keys():
        if tuple(rates[name].shape) != wanted[name]:
            problems.append(f"{name}: shape {list(rates[name].shape)} instead of {list(wanted[name])}")
        elif isinstance(pre_classifier.get_submodule(name.rpartition(".")[0]), nn.LSTM):
            gates = rates[name].view(4, -1)
            if not (gates == gates[0]).all():
                problems.append(f"{name}: the four gates of a unit must share its rate")
    if problems:
        raise ValueError("learning rates: " + "; ".join(sorted(problems)))


def broadcastable(pre_classifier, rates):
    """Each vector, reshaped to broadcast over its parameter."""
    shaped = {}
    for module_name, module in pre_classifier.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            shape = [1] * parameter.dim()
            shape[feature_axis(module)] = -1
            full = f"{module_name}.{name}"
            shaped[full] = rates[full].to(parameter.dtype).view(shape)
    return shaped


def classifier_rates(copies, eta_min, eta_max):
    """Log-spaced over the whole interval, both ends exact; a single classifier has the geometric mean."""
    if eta_min == eta_max:
        return [eta_min] * copies
    if copies == 1:
        return [math.exp(0.5 * (math.log(eta_min) + math.log(eta_max)))]
    inner = [math.exp(math.log(eta_min) + j / (copies - 1) * math.log(eta_max / eta_min)) for j in range(1, copies - 1)]
    return [eta_min, *inner, eta_max]
