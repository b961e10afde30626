#!/usr/bin/env python3
"""PyTorch's peak throughput on a device: bytes per second of a copy, and operations per second of cuBLAS (on the CPU
oneDNN) in a large matrix product. Other figures of the same run are compared with these."""

import argparse
import json

import torch

import clock


def copied(device, elements):
    """Bytes per second, read and written. The buffers are far larger than any cache."""
    source, target = torch.rand(elements, device=device), torch.empty(elements, device=device)
    ms = clock.milliseconds(torch, device, lambda: target.copy_(source), 20, 3)
    return 2 * 4 * elements / ms * 1e3


def multiplied(device, size, dtype, tf32):
    """Operations per second of a product of two square matrices."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    ms = clock.milliseconds(torch, device, lambda: torch.matmul(a, b, out=out), 20, 3)
    return 2 * size**3 / ms * 1e3


def measure(device):
    elements, size = (1 << 27, 8192) if device == "cuda" else (1 << 24, 1024)
    row = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "copy_gb_per_second": copied(device, elements) / 1e9,
        "f32_tflops": multiplied(device, size, torch.float32, False) / 1e12,
        "bf16_tflops": multiplied(device, size, torch.bfloat16, False) / 1e12,
    }
    if device == "cuda":
        row["tf32_tflops"] = multiplied(device, size, torch.float32, True) / 1e12
    return row


def main():
    parser = argparse.ArgumentParser(description="a copy's GB/s and a product's TFLOP/s in PyTorch", allow_abbrev=False)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="a line of JSON")
    args = parser.parse_args()
    row = measure(args.device)
    if args.json:
        print(json.dumps(row))
        return
    for name, value in row.items():
        print(f"{name:<20} {value:,.2f}" if isinstance(value, float) else f"{name:<20} {value}")


if __name__ == "__main__":
    main()
