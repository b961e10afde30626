#!/usr/bin/env python3
"""Prints a folder of results as tables in Markdown: the state of each part, training steps beside PyTorch's, parts of a
step, kernels beside their floors. A missing file is left out, and an incomplete one is named."""

import glob
import json
import os
import sys

# The most important kernels come first: the update, the head, the switch.
NAMED = ("optimizer", "classifiers", "many_classes", "switch")


def read(path, broken):
    """The object in a JSON file. If there is none, the file's name is added to `broken` and the result is empty."""
    try:
        with open(path) as file:
            found = json.load(file)
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    broken.append(os.path.basename(path))
    return {}


def all_of(folder, start, broken):
    """The contents of the files whose names begin with `start`, in the order of writing."""
    paths = glob.glob(os.path.join(glob.escape(folder), f"{start}*.json"))
    return [read(path, broken) for path in sorted(paths, key=lambda path: (os.stat(path).st_mtime_ns, path))]


def entries(found, key):
    """The objects in the lists under `key` of all results."""
    lists = [own.get(key) for own in found]
    return [entry for own in lists if isinstance(own, list) for entry in own if isinstance(entry, dict)]


def row(*cells):
    print("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")


def heading(title, *cells):
    print(f"\n## {title}\n")
    row(*cells)
    row(*["---"] * len(cells))


def number(value, digits=4):
    """Formats a number with `digits` significant digits; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    whole = isinstance(value, int) or abs(value) >= 10**digits
    return f"{value:.0f}" if whole else f"{value:#.{digits}g}".rstrip(".")


def text(entry, key):
    value = entry.get(key)
    return "" if value is None else value


def spread(entry, key):
    low, high = number(entry.get(f"{key}_min")), number(entry.get(f"{key}_max"))
    return f"{low} to {high}" if low and high else ""


def parts(folder):
    """How each command of run.sh ended."""
    try:
        with open(os.path.join(folder, "parts.txt")) as file:
            lines = [line.rstrip("\n").split("\t") for line in file if line.strip()]
    except OSError:
        return
    heading("Parts", "part", "state", "seconds")
    for line in lines:
        row(*(line + ["", ""])[:3])


def machine(found):
    for own in found:
        described = own.get("machine")
        if isinstance(described, dict):
            print("\n" + "; ".join(f"{key}: {value}" for key, value in described.items() if value is not None))
            return


def steps(found):
    rows = entries(found, "steps")
    if not rows:
        return
    columns = ("model", "side", "way", "mode", "precision", "width", "samples")
    heading("A training step", *columns, "ms", "ms, least to most", "samples/s", "launches")
    for entry in rows:
        rate = entry.get("samples_per_second")
        rate = f"{rate:.0f}" if isinstance(rate, (int, float)) else ""
        own = (text(entry, column) for column in columns)
        row(*own, number(entry.get("ms")), spread(entry, "ms"), rate, text(entry, "launches"))


def ratios(found):
    rows = entries(found, "ratios")
    if rows:
        heading("Ratios of times", "model", "of", "ratio", "least to most")
    for entry in rows:
        row(text(entry, "model"), text(entry, "name"), number(entry.get("ratio"), 3), spread(entry, "ratio"))


def pieces(found):
    rows = entries(found, "pieces")
    if rows:
        heading("Parts of a step", "model", "piece", "side", "way", "us", "us, least to most")
    for entry in sorted(rows, key=lambda entry: (str(entry.get("model")), str(entry.get("piece")))):
        own = (text(entry, column) for column in ("model", "piece", "side", "way"))
        row(*own, number(entry.get("us")), spread(entry, "us"))


def failures(found):
    rows = entries(found, "failed")
    if rows:
        heading("Steps that failed", "model", "way", "error")
    for entry in rows:
        row(text(entry, "model"), text(entry, "way"), text(entry, "error"))


def peaks(found):
    for own in found:
        most = own.get("ceilings")
        if isinstance(most, dict):
            rates = ", ".join(f"{most[unit] / 1e12:.1f} in {unit}" for unit in ("f32", "tf32", "bf16") if most.get(unit))
            print(f"\nCopied: {most.get('bytes', 0) / 1e9:.0f} GB/s. TFLOP/s by mma.sync: {rates}.")
            return


def is_named(entry):
    return str(entry.get("kernel")).startswith(NAMED)


def kernels(title, rows):
    if not rows:
        return
    heading(title, "kernel", "for", "registers", "shared", "occupancy", "floor us", "time us", "of floor", "report")
    for entry in rows:
        occupancy = entry.get("occupancy")
        occupancy = f"{100 * occupancy:.0f} %" if isinstance(occupancy, (int, float)) else ""
        time = entry.get("time")
        measured = ["", "", ""]
        if isinstance(time, dict):
            share = entry.get("percent_of_floor")
            share = f"{share:.1f} %" if isinstance(share, (int, float)) else ""
            measured = [*(number(1e6 * time[key]) if time.get(key) else "" for key in ("floor", "seconds")), share]
        own = (text(entry, key) for key in ("workload", "registers", "shared"))
        row(f"`{entry.get('kernel')}`", *own, occupancy, *measured, text(entry, "verdict"))


def main():
    folder, broken = sys.argv[1], []
    found = all_of(folder, "steps-", broken) + all_of(folder, "own-steps-", broken)
    measured = all_of(folder, "kernels-f32-", broken) + all_of(folder, "kernels-bf16-", broken)
    # Of a kernel that was measured twice, the last measurement counts.
    rows = {(str(entry.get("kernel")), str(entry.get("workload"))): entry for entry in entries(measured, "kernels")}
    print("# Results")
    machine(found)
    parts(folder)
    if broken:
        print("\nIncomplete, and left out: " + ", ".join(broken))
    steps(found)
    ratios(found)
    pieces(found)
    failures(found)
    kernels("The update, the head and the switch", [entry for entry in rows.values() if is_named(entry)])
    peaks(measured)
    kernels("Other kernels", [entry for entry in rows.values() if not is_named(entry)])


if __name__ == "__main__":
    main()
