#!/usr/bin/env python3
"""Writes formats.safetensors: WebP, GIF and BMP files of every kind, and the pixels that Pillow makes of each.

`file.NAME` are the bytes of a file, `pixels.NAME` `[H, W, 3]` the file as Pillow converts it to RGB. Files that Pillow cannot
write, such as most kinds of BMP, are put together here. Needs Pillow: python formats.py
"""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

WIDTH, HEIGHT = 21, 13


def picture(height=HEIGHT, width=WIDTH):
    """Smooth waves and a few hard edges, in bytes [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + k) + k) * np.cos(y / (5 - k)) * 100 + 128 for k in range(3)]
    pixels = np.stack(waves, -1)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = [240, 30, 60]
    return pixels.clip(0, 255).astype("uint8")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def webps():
    image = Image.fromarray(picture())
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(picture()[:, :, 0]))
    frames = [image, Image.fromarray(picture()[::-1].copy())]
    large = Image.fromarray(picture(50, 70))
    return {
        "lossy.webp": encoded(large, "WEBP", quality=80),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "alpha-lossy.webp": encoded(alpha, "WEBP", quality=80),
        "alpha-lossless.webp": encoded(alpha, "WEBP", lossless=True, exact=True),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "profile.webp": encoded(image, "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    }


def gif_frame(data, left, top):
    """A GIF's bytes with the first frame's place moved, on a screen that keeps its size."""
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    data = bytearray(data)
    struct.pack_into("<HH", data, at + 1, left, top)
    return bytes(data)


def gifs():
    image = Image.fromarray(picture())
    palette = image.quantize(16)
    clear = palette.copy()
    clear.info["transparency"] = 3
    frames = [palette, Image.fromarray(picture()[::-1].copy()).quantize(16)]
    small = bytearray(encoded(palette, "GIF"))
    struct.pack_into("<HH", small, 6, WIDTH + 5, HEIGHT + 4)
    clear_small = bytearray(encoded(clear, "GIF", transparency=3))
    struct.pack_into("<HH", clear_small, 6, WIDTH + 5, HEIGHT + 4)
    return {
        "palette.gif": encoded(palette, "GIF"),
        "grey.gif": encoded(image.convert("L"), "GIF"),
        "bits.gif": encoded(image.convert("1"), "GIF"),
        "interlaced.gif": encoded(palette, "GIF", interlace=True),
        "straight.gif": encoded(palette, "GIF", interlace=False),
        "transparent.gif": encoded(clear, "GIF", transparency=3),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100),
        "on-a-larger-screen.gif": gif_frame(bytes(small), 3, 2),
        "on-a-clear-screen.gif": gif_frame(bytes(clear_small), 5, 4),
        "beyond-its-screen.gif": gif_frame(encoded(palette, "GIF"), 4, 1),
    }


def rows(samples, bits):
    """Bits of each pixel, highest first, each row filled up to four bytes; `samples` are [rows, columns] numbers."""
    lines = []
    for row in samples:
        if bits < 8:
            text = "".join(f"{value:0{bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            line = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        else:
            line = b"".join(int(value).to_bytes(bits // 8, "little") for value in row)
        lines.append(line + bytes(-len(line) % 4))
    return b"".join(lines)


def bmp(samples, bits, colours=(), compression=0, masks=(), top_down=False, old=False, header=40, data=None):
    height, width = samples.shape
    body = rows(samples if top_down else samples[::-1], bits) if data is None else data
    if old:
        table = b"".join(bytes([b, g, r]) for r, g, b in colours)
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        table = b"".join(bytes([b, g, r, 0]) for r, g, b in colours)
        extent = -height if top_down else height
        head = struct.pack(
            "<IiiHHIIiiII", header, width, extent, 1, bits, compression, len(body), 0, 0, len(colours), 0
        )
        head += b"".join(struct.pack("<I", mask) for mask in masks)
        head += bytes(max(0, header - len(head)))
    offset = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + table + body


def packed(pixels, masks):
    value = np.zeros(pixels.shape[:2], dtype="int64")
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        bits = (mask >> shift).bit_length()
        value |= (pixels[:, :, channel].astype("int64") >> (8 - bits)) << shift
    return value


def bmps():
    pixels = picture()
    whole = packed(pixels, (0xFF0000, 0xFF00, 0xFF))
    palette = Image.fromarray(pixels).quantize(16)
    indices = np.asarray(palette).astype("int64")
    sixteen = np.asarray(palette.getpalette()[:48]).reshape(16, 3)
    many = Image.fromarray(pixels).quantize(200)
    wide = np.asarray(many).astype("int64")
    two_hundred = np.asarray(many.getpalette()[:600]).reshape(200, 3)
    bits = (pixels[:, :, 0] > 128).astype("int64")
    m555, m565 = (0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)
    alpha = whole | (np.int64(0x80) << 24)
    mirrored = packed(pixels, (0xFF, 0xFF00, 0xFF0000))
    # Runs, single pixels with and without a byte that fills up, a jump, and the ends of rows and of the image.
    runs = bytes([3, 1, 0, 5, 2, 3, 4, 5, 6, 0, 0, 0, 2, 2, 0, 4, 7, 8, 9, 10, 0, 2, 1, 1, 9, 4, 0, 0])
    runs += bytes([21, 12, 0, 0] * 10 + [0, 1])
    halves = bytes([5, 0x12, 0, 6, 0x34, 0x56, 0x78, 0, 0, 0, 0, 2, 3, 1, 7, 0x9A, 0, 0] + [21, 0xBC, 0, 0] * 10 + [0, 1])
    return {
        "plain.bmp": encoded(Image.fromarray(pixels), "BMP"),
        "grey.bmp": encoded(Image.fromarray(pixels).convert("L"), "BMP"),
        "top-down.bmp": bmp(whole, 24, top_down=True),
        "bits.bmp": bmp(bits, 1, colours=((200, 10, 30), (5, 250, 90))),
        "halves.bmp": bmp(indices, 4, colours=sixteen),
        "halves-top-down.bmp": bmp(indices, 4, colours=sixteen, top_down=True),
        "bytes.bmp": bmp(wide, 8, colours=two_hundred),
        "few-colours.bmp": bmp(indices, 8, colours=sixteen),
        "sixteen.bmp": bmp(packed(pixels, m555), 16),
        "sixteen-565.bmp": bmp(packed(pixels, m565), 16, compression=3, masks=m565),
        "sixteen-tall.bmp": bmp(packed(picture(30, 7), m555), 16),
        "thirty-two.bmp": bmp(alpha, 32),
        "masks.bmp": bmp(mirrored, 32, compression=3, masks=(0xFF, 0xFF00, 0xFF0000, 0xFF000000), header=56),
        "version-4.bmp": bmp(alpha, 32, compression=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), header=108),
        "version-5.bmp": bmp(whole, 24, header=124),
        "old.bmp": bmp(wide, 8, colours=np.concatenate([two_hundred, np.zeros((56, 3), int)]), old=True),
        "old-24.bmp": bmp(whole, 24, old=True),
        "runs.bmp": bmp(wide, 8, colours=two_hundred, compression=1, data=runs),
        "half-runs.bmp": bmp(indices, 4, colours=sixteen, compression=2, data=halves),
    }


if __name__ == "__main__":
    tensors = {}
    for name, data in {**webps(), **gifs(), **bmps()}.items():
        tensors[f"file.{name}"] = np.frombuffer(data, dtype="uint8")
        tensors[f"pixels.{name}"] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).copy()
    save_file(tensors, Path(__file__).with_name("formats.safetensors"))
