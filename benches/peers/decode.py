#!/usr/bin/env python3
"""Times torchvision's ImageFolder in images per second, for comparison with `cargo run --release --example decode`.

    python benches/peers/decode.py make DIR COUNT      # COUNT JPEGs of 500 by 375 with noise, in DIR/train/{a,b}
    python benches/peers/decode.py DIR SIZE WORKERS
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms


def make(folder, count):
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:375, 0:500]
    for number in range(count):
        waves = [np.sin(x / (20 + number % 40) + k) * np.cos(y / (15 + k)) * 100 + 128 for k in range(3)]
        pixels = np.stack(waves, -1) + random.normal(0, 12, (375, 500, 3))
        place = Path(folder) / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(place / f"{number:05}.jpg", quality=90)


def measure(folder, size, workers):
    steps = [transforms.Resize(round(size * 256 / 224)), transforms.CenterCrop(size), transforms.PILToTensor()]
    images = datasets.ImageFolder(Path(folder) / "train", transforms.Compose(steps))
    torch.set_num_threads(1)
    began = time.perf_counter()
    count = sum(len(labels) for _, labels in torch.utils.data.DataLoader(images, 32, num_workers=workers))
    seconds = time.perf_counter() - began
    print(f"{count} images in {seconds:.2f} s: {count / seconds:.0f} a second")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
