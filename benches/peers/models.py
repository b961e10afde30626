"""The architectures, each a plain pre-classifier: its output is features `z` of shape [samples, dimension], and it is
independent of Alrao. Parameter names are those of torch and of kuangliu/pytorch-cifar."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def channels(count, width):
    """Rounds half a channel up; Python's `round` would make both 1.5 and 2.5 into 2."""
    return max(1, math.floor(count * width + 0.5))


class BatchNorm2d(nn.BatchNorm2d):
    """As torch's, except that a channel skips the update of its running statistics where the batch is not finite. With
    learning rates up to 10 such batches are expected, and a single one would spoil every later evaluation."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        # torch saves the running statistics for the backward pass, so it gets copies.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        out = F.batch_norm(x, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
        finite = mean.isfinite() & variance.isfinite()
        with torch.no_grad():
            self.running_mean.copy_(torch.where(finite, mean, self.running_mean))
            self.running_var.copy_(torch.where(finite, variance, self.running_var))
            self.num_batches_tracked.add_(1)
        return out


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, width=1.0, activation=F.relu):
        super().__init__()
        self.activation = activation
        sizes = [inputs] + [channels(size, width) for size in hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.dimension = sizes[-1]

    def forward(self, x):
        z = x.flatten(1)
        for layer in self.layers:
            z = self.activation(layer(z))
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
        # A no-op, as in pytorch-cifar; it has no parameters, so no name depends on it.
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


class Inception(nn.Module):
    """GoogLeNet's block: four parallel branches; two 3x3 convolutions replace a 5x5 one."""

    def __init__(self, inputs, single, three, five, pool):
        super().__init__()

        def convolution(a, b, kernel):
            return [nn.Conv2d(a, b, kernel, padding=kernel // 2), BatchNorm2d(b), nn.ReLU()]

        self.b1 = nn.Sequential(*convolution(inputs, single, 1))
        self.b2 = nn.Sequential(*convolution(inputs, three[0], 1), *convolution(*three, 3))
        self.b3 = nn.Sequential(
            *convolution(inputs, five[0], 1), *convolution(*five, 3), *convolution(five[1], five[1], 3)
        )
        self.b4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *convolution(inputs, pool, 1))
        self.dimension = single + three[1] + five[1] + pool

    def forward(self, x):
        return torch.cat([branch(x) for branch in (self.b1, self.b2, self.b3, self.b4)], 1)


class GoogLeNet(nn.Module):
    STAGES = [
        {"a3": (64, (96, 128), (16, 32), 32), "b3": (128, (128, 192), (32, 96), 64)},
        {
            "a4": (192, (96, 208), (16, 48), 64),
            "b4": (160, (112, 224), (24, 64), 64),
            "c4": (128, (128, 256), (24, 64), 64),
            "d4": (112, (144, 288), (32, 64), 64),
            "e4": (256, (160, 320), (32, 128), 128),
        },
        {"a5": (256, (160, 320), (32, 128), 128), "b5": (384, (192, 384), (48, 128), 128)},
    ]

    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        count = channels(192, width)
        self.pre_layers = nn.Sequential(nn.Conv2d(inputs, count, 3, padding=1), BatchNorm2d(count), nn.ReLU())
        for blocks in self.STAGES:
            for name, (single, three, five, pool) in blocks.items():
                three, five = ([channels(own, width) for own in branch] for branch in (three, five))
                block = Inception(count, channels(single, width), three, five, channels(pool, width))
                self.add_module(name, block)
                count = block.dimension
        self.dimension = count

    def forward(self, x):
        out = self.pre_layers(x)
        for number, blocks in enumerate(self.STAGES):
            if number > 0:
                out = F.max_pool2d(out, 3, stride=2, padding=1)
            for name in blocks:
                out = getattr(self, name)(out)
        return F.avg_pool2d(out, 8).flatten(1)


class SeBlock(nn.Module):
    """SENet-18's block: a pre-activation residual block with squeeze-and-excitation."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False))
        reduced = max(1, outputs // 16)
        self.fc1 = nn.Conv2d(outputs, reduced, 1)
        self.fc2 = nn.Conv2d(reduced, outputs, 1)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        weights = torch.sigmoid(self.fc2(F.relu(self.fc1(out.mean((2, 3), keepdim=True)))))
        return out * weights + (x if self.shortcut is None else self.shortcut(active))


class SeNet18(nn.Module):
    STAGES = [(64, 1), (128, 2), (256, 2), (512, 2)]

    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        count = channels(64, width)
        self.conv1 = nn.Conv2d(inputs, count, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(count)
        for number, (outputs, stride) in enumerate(self.STAGES, 1):
            outputs = channels(outputs, width)
            blocks = nn.Sequential(SeBlock(count, outputs, stride), SeBlock(outputs, outputs, 1))
            self.add_module(f"layer{number}", blocks)
            count = outputs
        self.dimension = count

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            out = blocks(out)
        return F.avg_pool2d(out, 4).flatten(1)


class Bottleneck(nn.Module):
    """ResNet-50's block: reduce, convolve, expand; the input is added before the last ReLU."""

    def __init__(self, inputs, inner, stride):
        super().__init__()
        outputs = 4 * inner
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), BatchNorm2d(outputs)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet50(nn.Module):
    # channels, blocks, stride of the first block
    STAGES = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]

    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        count = channels(64, width)
        self.conv1 = nn.Conv2d(inputs, count, 7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(count)
        for number, (inner, repeats, stride) in enumerate(self.STAGES, 1):
            inner, blocks = channels(inner, width), []
            for index in range(repeats):
                blocks.append(Bottleneck(count, inner, stride if index == 0 else 1))
                count = 4 * inner
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.dimension = count
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        out = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            out = blocks(out)
        return out.mean((2, 3))


class DenseLayer(nn.Module):
    """DenseNet's layer: computes new channels from all earlier ones."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1 = BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        out = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(out)))], 1)


class DenseNet121(nn.Module):
    BLOCKS = [6, 12, 24, 16]

    def __init__(self, inputs=3, width=1.0):
        super().__init__()
        count, growth = channels(64, width), channels(32, width)
        self.features = nn.Sequential()
        add = self.features.add_module
        add("conv0", nn.Conv2d(inputs, count, 7, stride=2, padding=3, bias=False))
        add("norm0", BatchNorm2d(count))
        add("relu0", nn.ReLU())
        add("pool0", nn.MaxPool2d(3, stride=2, padding=1))
        for number, layers in enumerate(self.BLOCKS, 1):
            block = nn.Sequential()
            for layer in range(1, layers + 1):
                block.add_module(f"denselayer{layer}", DenseLayer(count, growth))
                count += growth
            add(f"denseblock{number}", block)
            if number < len(self.BLOCKS):
                transition, half = nn.Sequential(), max(1, count // 2)
                transition.add_module("norm", BatchNorm2d(count))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(count, half, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                add(f"transition{number}", transition)
                count = half
        add("norm5", BatchNorm2d(count))
        self.dimension = count
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        return F.relu(self.features(x)).mean((2, 3))


class AlexNet(nn.Module):
    """AlexNet as in torchvision, without the last Linear."""

    def __init__(self, inputs=3, width=1.0, dropout=0.5):
        super().__init__()
        a, b, c, d, self.dimension = (channels(count, width) for count in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(inputs, a, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(a, b, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(d * 6 * 6, self.dimension),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(self.dimension, self.dimension),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


class TextLstm(nn.Module):
    """From tokens [T, B] to features [T * B, hidden], time being the slower index. The recurrent state is carried from
    call to call, detached, until `reset`."""

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


SMALL_IMAGES = {"mobilenetv2": MobileNetV2, "googlenet": GoogLeNet, "senet18": SeNet18}
# For characters and for words.
LSTMS = ["char-lstm", "word-lstm"]
# With the least number of rows and columns.
IMAGES = {"alexnet": (AlexNet, 63), "resnet50": (ResNet50, 32), "densenet121": (DenseNet121, 32)}
NAMES = ["mlp", "cnn", *VGG, *SMALL_IMAGES, *IMAGES, *LSTMS]


def build(name, inputs, hidden=(256, 256), width=1.0, dropout=0.2):
    """`inputs` is the shape of one sample, or the number of distinct tokens of a text."""
    if name in LSTMS:
        return TextLstm(inputs, width, dropout)
    if name == "mlp":
        return Mlp(math.prod(inputs), hidden, width)
    if len(inputs) != 3:
        raise ValueError(f"{name} takes images, not vectors of shape {list(inputs)}")
    if name == "cnn":
        return Cnn(inputs[0], width)
    if name in IMAGES:
        architecture, least = IMAGES[name]
        if min(inputs[1:]) < least:
            raise ValueError(f"{name} takes images of at least {least} by {least}, not {inputs[1]} by {inputs[2]}")
        more = {"dropout": dropout} if name == "alexnet" else {}
        return architecture(inputs[0], width, **more)
    if tuple(inputs[1:]) != (32, 32):
        raise ValueError(f"{name} takes images of 32 by 32, not {inputs[1]} by {inputs[2]}")
    return SMALL_IMAGES[name](inputs[0], width) if name in SMALL_IMAGES else Vgg(name, inputs[0], width)
