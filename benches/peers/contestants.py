"""The timed training steps: plain SGD, eager and compiled, Alrao as in its authors' code, and the single-backward Alrao
of `alrao.py`, on random images of the model's usual size or random tokens. `step.py` times each in its own process,
`in_turn.py` all in one process; `pieces.py` has parts of a step."""

import contextlib
import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

import alrao
import models
from authors import AuthorsAlrao

WINDOW = 70
# Distinct characters; distinct words.
VOCABULARIES = {"char-lstm": 50, "word-lstm": 9999}
CLASSES = 10
# Forward and backward are compiled; the update is torch's fused one.
COMPILED = {"sgd-compiled": "reduce-overhead", "sgd-autotuned": "max-autotune"}
WAYS = ["sgd", "sgd-fused", *COMPILED, "authors", "alrao"]


@dataclasses.dataclass
class Settings:
    model: str
    device: str = "cpu"
    precision: str = "f32"
    batch_size: int | None = None  # samples, or columns of tokens: 32, or 20
    width: float = 1.0
    classifiers: int | None = None  # 10, for LSTMs 6
    channels_last: bool = False

    def __post_init__(self):
        if self.model not in models.NAMES:
            raise ValueError(f"no model is called {self.model!r}; there are {', '.join(models.NAMES)}")
        if self.channels_last and self.recurrent:
            raise ValueError(f"channels-last is a layout of images, which {self.model} does not take")

    @property
    def recurrent(self):
        return self.model in models.LSTMS

    @property
    def inputs(self):
        """The shape of one sample, or the number of distinct tokens."""
        if self.recurrent:
            return VOCABULARIES[self.model]
        side = 224 if self.model in models.IMAGES else 32
        return (3, side, side)

    @property
    def outputs(self):
        return VOCABULARIES.get(self.model, CLASSES)

    @property
    def copies(self):
        return self.classifiers or (6 if self.recurrent else 10)

    @property
    def eta(self):
        return (1e-3, 100.0) if self.recurrent else (1e-5, 10.0)

    @property
    def layout(self):
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")


def set_backends(precision, threads):
    """These settings are global to the process, not to a contestant."""
    torch.set_num_threads(threads)
    # Overfitting one batch gives subnormal gradients, which slow a CPU down; the engine flushes them to zero.
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def batch(settings):
    """Random inputs and targets, the same for every step."""
    torch.manual_seed(0)
    if settings.recurrent:
        columns = settings.batch_size or 20
        x, y = torch.randint(settings.inputs, (WINDOW, columns)), torch.randint(settings.outputs, (WINDOW * columns,))
    else:
        size = settings.batch_size or 32
        x, y = torch.randn(size, *settings.inputs), torch.randint(settings.outputs, (size,))
    return x.to(settings.device).contiguous(memory_format=settings.layout), y.to(settings.device)


def step(way, settings, x, y):
    """A new model's step on one batch, as a function without arguments."""
    one = step_of(way, settings)

    def cast():
        with settings.autocast():
            one(x, y)

    return cast


def step_of(way, settings):
    if way == "alrao":
        return trainer(settings).step
    if way not in WAYS:
        raise ValueError(f"no step is called {way!r}; there are {', '.join(WAYS)}")
    with torchs_batch_norm():
        pre_classifier = models.build(settings.model, settings.inputs, width=settings.width)
    pre_classifier = pre_classifier.to(settings.device, memory_format=settings.layout)
    if way == "authors":
        return AuthorsAlrao(pre_classifier, settings.outputs, settings.copies, *settings.eta).step
    return plain_sgd(pre_classifier, settings, way)


@contextlib.contextmanager
def torchs_batch_norm():
    """Builds models with torch's own batch norm, without the check for finite batches that only Alrao's runs need."""
    own = models.BatchNorm2d
    models.BatchNorm2d = nn.BatchNorm2d
    try:
        yield
    finally:
        models.BatchNorm2d = own


def trainer(settings):
    flags = ["--model", settings.model, "--data", "random", "--width", str(settings.width)]
    flags += ["--classifiers", str(settings.copies)]
    return alrao.Trainer(alrao.arguments(flags), settings.inputs, settings.outputs, settings.device)


def plain_sgd(pre_classifier, settings, way):
    linear = nn.Linear(pre_classifier.dimension, settings.outputs, device=settings.device)
    parameters = [*pre_classifier.parameters(), *linear.parameters()]
    # None is torch's default: on a GPU one operation for many parameters. False would loop over them.
    optimizer = torch.optim.SGD(parameters, lr=0.01, fused=None if way == "sgd" else True)

    def loss(x, y):
        return F.cross_entropy(linear(pre_classifier(x)), y)

    if way in COMPILED:
        loss = torch.compile(loss, mode=COMPILED[way], dynamic=False)

    def one(x, y):
        if way in COMPILED and settings.device == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()

    return one
