#!/usr/bin/env python3
"""Writes images.safetensors: image files of every kind, and what torchvision's evaluation transform makes of each.

`file.NAME` are the bytes of a file, `view.NAME` `[32, 32, 3]` the file as Pillow reads it, resized to 37 (32 * 256 / 224,
rounded) and cut to the middle 32. Needs torchvision and Pillow: python images.py
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from torchvision import transforms

SIZE = 32


def picture(height, width):
    """Smooth waves and a few hard edges, in bytes [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + k) + k) * np.cos(y / (9 - k)) * 90 + 128 for k in range(3)]
    pixels = np.stack(waves, -1)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = [240, 30, 60]
    return pixels.clip(0, 255).astype("uint8")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def files():
    wide, tall = Image.fromarray(picture(60, 90)), Image.fromarray(picture(75, 50))
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = wide.copy()
    alpha.putalpha(Image.fromarray(picture(60, 90)[:, :, 0]))
    sixteen = np.asarray(wide.convert("L")).astype("uint16") * 257
    return {
        "wide.jpg": encoded(wide, "JPEG", quality=92),
        "tall.png": encoded(tall, "PNG"),
        "small.png": encoded(Image.fromarray(picture(11, 17)), "PNG"),
        "grey.jpg": encoded(wide.convert("L"), "JPEG", quality=92),
        "cmyk.jpg": encoded(wide.convert("CMYK"), "JPEG", quality=80),
        "progressive.jpg": encoded(wide, "JPEG", quality=92, progressive=True),
        "turned.jpg": encoded(wide, "JPEG", quality=92, exif=turned),
        "alpha.png": encoded(alpha, "PNG"),
        "palette.png": encoded(wide.quantize(16), "PNG"),
        "sixteen.png": encoded(Image.fromarray(sixteen), "PNG"),
    }


def view(name, data):
    image = Image.open(io.BytesIO(data))
    if name == "sixteen.png":
        # Pillow's own conversion of 16 bits cuts all above 255 off.
        image = Image.fromarray((np.asarray(image) // 257).astype("uint8"))
    transform = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(SIZE)])
    return np.asarray(transform(image.convert("RGB")))


if __name__ == "__main__":
    tensors = {}
    for name, data in files().items():
        tensors[f"file.{name}"] = np.frombuffer(data, dtype="uint8")
        tensors[f"view.{name}"] = view(name, data).copy()
    save_file(tensors, Path(__file__).with_name("images.safetensors"))
