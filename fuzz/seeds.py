#!/usr/bin/env python3
"""Writes valid inputs of every target to corpus/TARGET, from which fuzzing goes on. Needs Python alone."""

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"


def tensors(path):
    """The bytes of each tensor in a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, data[start:end]


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


for golden in ["images", "formats"]:
    for name, data in tensors(TESTS / "golden" / f"{golden}.safetensors"):
        if name.startswith("file."):
            put("images", name, data)
for name in ["classes", "values"]:
    put("safetensors", name, (TESTS / "fixtures" / f"{name}.safetensors").read_bytes())
for name in ["classes", "middle"]:
    put("resume", name, (TESTS / "fixtures" / name / "last.safetensors").read_bytes())
for config in TESTS.glob("fixtures/*/config.toml"):
    put("toml", config.parent.name, config.read_bytes())
text = "\ufeffno it was n't black monday,\r\nsaid Zoë\n"
put("text", "utf-8", text.encode())
put("text", "utf-16", text.encode("utf-16-le"))
put("text", "latin-1", "café au lait".encode("latin-1"))
put("cifar", "two", bytes([3] * 3073 + [9] * 3073))
pictures = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(12))
put("idx", "images", pictures)
put("idx", "compressed", gzip.compress(pictures))
put("idx", "labels", bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 9]))
put("csv", "header", b"kind,x,sex\na,1.5,m\nb,,f\na,2,m\nb,NA,f\n")
put("csv", "none", b"1;2;\"x;y\"\n2;3;z\n1;4;z\n")


def npy(descr, shape, data):
    header = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + data


for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as members:
        members.writestr("inputs.npy", npy("<f4", (4, 1), struct.pack("<4f", 1, 2, 3, 4)))
        members.writestr("labels.npy", npy("|u1", (4,), bytes([0, 1, 0, 1])))
    put("npz", name, archive.getvalue())
