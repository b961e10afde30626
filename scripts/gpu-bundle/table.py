#!/usr/bin/env python3
"""What a folder of results comes to, as tables in Markdown: steps of the engine beside PyTorch's, kernels beside their
floors. What was not measured is left out."""

import json
import os
import sys


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        text = file.read()
    if not text.strip():
        return None
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def heading(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def steps(own, peers):
    """One row a model, a column for each way of doing its step; milliseconds."""
    times, launches = {}, {}
    for entry in own or []:
        column = f"alrao: {entry['optimizer']} {entry['precision']} {entry['mode']}"
        times[entry["model"], column] = entry["ms"]
        launches[entry["model"]] = max(entry["launches"] or 0, launches.get(entry["model"], 0))
    for entry in peers or []:
        if "model" in entry:
            column = f"PyTorch: {entry['optimizer']} {entry.get('precision', '')}".strip()
            # A way that failed in one precision is tried in another.
            times.setdefault((entry["model"], column), entry.get("ms", "failed"))
    if not times:
        return
    models = list(dict.fromkeys(model for model, _ in times))
    columns = list(dict.fromkeys(column for _, column in times))
    print("\n## A training step, ms\n")
    heading("", *models)
    for column in columns:
        cells = [times.get((model, column), "") for model in models]
        row(column, *(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in cells))
    if any(launches.values()):
        row("launches of alrao, at most", *(launches.get(model, "") for model in models))


def kernels(found, precision):
    if not found:
        return
    print(f"\n## Kernels, {precision}\n")
    ceilings = found["ceilings"]
    if ceilings:
        rates = ", ".join(f"{ceilings[unit] / 1e12:.1f} in {unit}" for unit in ("f32", "tf32", "bf16"))
        print(f"Copied: {ceilings['bytes'] / 1e9:.0f} GB/s. TFLOP/s by mma.sync: {rates}.\n")
    heading("kernel", "for", "registers", "shared", "occupancy", "floor us", "time us", "of floor")
    for entry in found["kernels"]:
        time = entry["time"]
        occupancy = "" if entry["occupancy"] is None else f"{100 * entry['occupancy']:.0f} %"
        measured = ["", "", ""]
        if time:
            share = f"{entry['percent_of_floor']:.1f} %"
            measured = [f"{1e6 * time['floor']:.2f}", f"{1e6 * time['seconds']:.2f}", share]
        row(f"`{entry['kernel']}`", entry["workload"], entry["registers"], entry["shared"], occupancy, *measured)


def q_learning(own, both):
    """A row for each way of learning; those beside PyTorch were measured in turn with it."""
    rows = [("alrao by itself", entry) for entry in (own or {}).get("q_learning", [])]
    rows += [(entry["side"], entry) for entry in both or []]
    if not rows:
        return
    print("\n## Q-learning on the pendulum, a second\n")
    heading("", "optimizer", "mode", "precision", "updates", "environment steps", "both in turn", "launches", "times PyTorch's eager")
    for side, entry in rows:
        if "error" in entry:
            row(side, entry["optimizer"], "failed", "", "", "", "", "", "")
            continue
        works = ("updates", "environment_steps", "steps_with_updates")
        rates = (f"{entry[f'{work}_per_second']:.0f}" for work in works)
        launches = entry.get("launches")
        ratios = ", ".join(str(ratio) for ratio in entry.get("ratios", []))
        row(side, entry["optimizer"], entry["mode"], entry["precision"], *rates, "" if launches is None else launches, ratios)


def ceilings(peers):
    for entry in peers or []:
        if "copy_gb_per_second" in entry:
            print("\nPyTorch: " + ", ".join(f"{name} {value}" for name, value in entry.items()))
            return


def main():
    folder = sys.argv[1]
    for precision in ("f32", "bf16"):
        kernels(read(folder, f"kernels-{precision}.json"), precision)
    peers = read(folder, "peers.jsonl")
    ceilings(peers)
    own = [read(folder, f"steps-{precision}.json") for precision in ("f32", "tf32", "bf16")]
    steps([entry for found in own if found for entry in found["steps"]], peers)
    q_learning(read(folder, "q-learning.json"), read(folder, "peers-q-learning.jsonl"))


if __name__ == "__main__":
    main()
