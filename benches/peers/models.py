"""The architectures, each a plain pre-classifier: it ends in features `z` of shape [samples, dimension] and knows
nothing of Alrao. Parameter names are those of torch and of kuangliu/pytorch-cifar."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def channels(count, width):
    """Half a channel rounds up: Python's own `round` would take 1.5 and 2.5 both to 2."""
    return max(1, math.floor(count * width + 0.5))


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, except that a channel whose batch is not finite leaves its running statistics as they were. With
    learning rates up to 10 such a batch is expected, and one of them would spoil every evaluation after it."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        # torch keeps the running tensors it is given for the backward pass, so it is given copies.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        out = F.batch_norm(x, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
        finite = mean.isfinite() & variance.isfinite()
        with torch.no_grad():
            self.running_mean.copy_(torch.where(finite, mean, self.running_mean))
            self.running_var.copy_(torch.where(finite, variance, self.running_var))
            self.num_batches_tracked.add_(1)
        return out


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, width=1.0):
        super().__init__()
        sizes = [inputs] + [channels(size, width) for size in hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.dimension = sizes[-1]

    def forward(self, x):
        z = x.flatten(1)
        for layer in self.layers:
            z = F.relu(layer(z))
        return z


class Cnn(nn.Module):
    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        blocks = []
        for count in (32, 64, 128):
            outputs = channels(count, width)
            blocks += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            inputs = outputs
        self.features = nn.Sequential(*blocks)
        self.dimension = inputs

    def forward(self, x):
        return self.features(x).mean((2, 3))


VGG = {
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg13": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M"] + [256] * 4 + ["M"] + [512] * 4 + ["M"] + [512] * 4 + ["M"],
}


class Vgg(nn.Module):
    def __init__(self, name, inputs=3, width=1.0):
        super().__init__()
        layers = []
        for entry in VGG[name]:
            if entry == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = channels(entry, width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        # Does nothing, as in pytorch-cifar; parameterless, so no name depends on it.
        layers.append(nn.AvgPool2d(1, 1))
        self.features = nn.Sequential(*layers)
        self.dimension = inputs

    def forward(self, x):
        return self.features(x).flatten(1)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project without an activation."""

    def __init__(self, inputs, outputs, expansion, stride):
        super().__init__()
        inner = expansion * inputs
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride == 1 and inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), BatchNorm2d(outputs))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out + self.shortcut(x) if self.stride == 1 else out


class MobileNetV2(nn.Module):
    # expansion, channels, blocks, stride of the first block
    STAGES = [
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]

    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        count = channels(32, width)
        self.conv1 = nn.Conv2d(inputs, count, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(count)
        blocks = []
        for expansion, outputs, repeats, stride in self.STAGES:
            outputs = channels(outputs, width)
            for index in range(repeats):
                blocks.append(InvertedResidual(count, outputs, expansion, stride if index == 0 else 1))
                count = outputs
        self.layers = nn.Sequential(*blocks)
        self.dimension = channels(1280, width)
        self.conv2 = nn.Conv2d(count, self.dimension, 1, bias=False)
        self.bn2 = BatchNorm2d(self.dimension)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(self.layers(out))))
        return F.avg_pool2d(out, 4).flatten(1)


class CharLstm(nn.Module):
    """Takes tokens [T, B], gives features [T * B, hidden] with time the slower index. The recurrent state is carried
    from call to call, cut from the graph, until `reset`."""

    def __init__(self, vocabulary, width=1.0, dropout=0.2):
        super().__init__()
        embedding = channels(100, width)
        self.dimension = channels(100, width)
        self.encoder = nn.Embedding(vocabulary, embedding)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        self.rnn = nn.LSTM(embedding, self.dimension, num_layers=2, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.state = None

    def reset(self):
        self.state = None

    def forward(self, tokens):
        state = None if self.state is None else tuple(part.detach() for part in self.state)
        out, self.state = self.rnn(self.dropout(self.encoder(tokens)), state)
        return self.dropout(out).flatten(0, 1)


NAMES = ["mlp", "cnn", *VGG, "mobilenetv2", "char-lstm"]


def build(name, inputs, hidden=(256, 256), width=1.0, dropout=0.2):
    """`inputs` is the shape of one sample, or the number of characters for char-lstm."""
    if name == "char-lstm":
        return CharLstm(inputs, width, dropout)
    if name == "mlp":
        return Mlp(math.prod(inputs), hidden, width)
    if len(inputs) != 3:
        raise ValueError(f"{name} takes images, not vectors of shape {list(inputs)}")
    if name == "cnn":
        return Cnn(inputs[0], width)
    if tuple(inputs[1:]) != (32, 32):
        raise ValueError(f"{name} takes images of 32 by 32, not {inputs[1]} by {inputs[2]}")
    return MobileNetV2(inputs[0], width) if name == "mobilenetv2" else Vgg(name, inputs[0], width)
