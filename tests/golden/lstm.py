#!/usr/bin/env python3
"""Two windows through torch.nn.LSTM (2 layers, no dropout) in f64, the state carried from the first to the second and
cut from the graph: parameters, inputs, outputs, states and the second window's gradients. Writes lstm.safetensors."""

import pathlib

import torch
from safetensors.torch import save_file

TIMES, BATCH, INPUTS, HIDDEN = 4, 3, 5, 6

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
rnn = torch.nn.LSTM(INPUTS, HIDDEN, num_layers=2)
# The engine's parameters start as f32.
rnn.load_state_dict({name: value.float().double() for name, value in rnn.state_dict().items()})
first, second = torch.randn(2, TIMES, BATCH, INPUTS)
upstream = torch.randn(TIMES, BATCH, HIDDEN)
second.requires_grad_()

first_output, state = rnn(first)
output, (h, c) = rnn(second, tuple(part.detach() for part in state))
output.backward(upstream)

tensors = {
    "first": first,
    "second": second,
    "upstream": upstream,
    "first_output": first_output,
    "output": output,
    "h": h,
    "c": c,
    "gradient.second": second.grad,
}
for name, parameter in rnn.named_parameters():
    tensors[name] = parameter
    tensors[f"gradient.{name}"] = parameter.grad
tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
save_file(tensors, pathlib.Path(__file__).with_suffix(".safetensors"))
