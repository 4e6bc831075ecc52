"""What a prior is worth, right or wrong, on recorded curves: `python -m benchmarks.priors --data FOLDER`.

The right prior lies near the best config of the table, the wrong one near its worst with a value: each param is moved
by a normal deviation of a tenth of its scale, so that no prior names the config itself. The one that is far lies half a
scale from the right one, in each param. Cells are kept in
raw/priors.jsonl when they are done, and played again only if that file is deleted. Prints the Markdown table of
docs/known.md: the regret (benchmarks/replay/tables.py) after so many full trainings, its mean over tasks and seeds, and
a 95 % bootstrap interval over seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks import jsonl
from benchmarks.replay import ours
from benchmarks.replay.tables import Task, load
from benchmarks.replay.trace import POINTS, Terms
from tuner.core import chance
from tuner.core.search.scale import from_unit, to_unit

RAW = Path(__file__).parent / "raw" / "priors.jsonl"
KINDS = ("random", "tpe", "auto")
PRIORS = ("none", "right", "wrong", "far")
TASKS = ("avg_bs64", "embed128_bs64", "3945", "34539")
"""The first two of each family."""
SHOWN = (1, 2, 5, 10, 20)
MOVED = 0.1


def space(task: Task, prior: str, seed: int, confidence: str) -> dict[str, Any]:
    """Write down a table's space with the priors of one seed."""
    spec = ours.experiment(task, Terms(seed, 1), {})
    finite = np.isfinite(task.losses)
    row = task.losses.argmin() if prior != "wrong" else np.where(finite, task.losses, -np.inf).argmax()
    parts = {name: dimension.model_dump(exclude_none=True) for name, dimension in spec.space.items()}
    if prior == "none":
        return parts
    for name, dimension in spec.space.items():
        away = MOVED * NormalDist().inv_cdf(chance.uniform(seed, "moved", name) or 0.5)
        place = to_unit(dimension, task.params(int(row))[name]) + away
        if prior == "far":
            place += 0.5 if place < 0.5 else -0.5
        parts[name] |= {"prior": from_unit(dimension, min(max(place, 0.0), 1.0)), "confidence": confidence}
    return parts


def play(task: Task, kind: str, prior: str, seed: int, confidence: str) -> list[float]:
    """Give the regret at each point of the budget; every trial runs to its end unless the search itself pauses it."""
    parts: dict[str, Any] = {"space": space(task, prior, seed, confidence), "search": {"kind": kind}}
    if kind != "auto":
        parts["scheduler"] = {"kind": "none"}
    return ours.run(task, Terms(seed, SHOWN[-1]), parts).regret


def means(lines: list[dict[str, Any]], key: str, head: str) -> str:
    """Show mean and interval of the regret for each kind of search and each value of a key of the lines."""
    rows = [f"| search | {head} | {' | '.join(map(str, SHOWN))} |", f"|---|---|{'---|' * len(SHOWN)}"]
    for kind, value in sorted(dict.fromkeys((line["kind"], line[key]) for line in lines), key=lambda pair: pair[0]):
        seeds: dict[int, list[list[float]]] = {}
        for line in lines:
            if (line["kind"], line[key]) == (kind, value):
                seeds.setdefault(line["seed"], []).append([line["regret"][POINTS.index(point)] for point in SHOWN])
        most = max(map(len, seeds.values()))  # a seed that was interrupted lacks some tasks
        of_seed = np.array([np.mean(regrets, axis=0) for regrets in seeds.values() if len(regrets) == most])
        drawn = np.random.default_rng(0).integers(len(of_seed), size=(4000, len(of_seed)))
        low, high = np.quantile(of_seed[drawn].mean(axis=1), (0.025, 0.975), axis=0)
        cells = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in zip(of_seed.mean(axis=0), low, high, strict=True)]
        rows.append(f"| `{kind}` | {value} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Play the cells that are not kept yet, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recorded curves")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help="kinds of search")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="families, or ends of the tasks' names")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--confidence", default="medium", choices=("low", "medium", "high"))
    flags = parser.parse_args()
    tasks = [t for t in load(flags.data) if t.family in flags.tasks or t.name.endswith(tuple(flags.tasks))]
    lines = jsonl.read(RAW)
    done = {(line["kind"], line["prior"], line["task"], line["seed"], line["confidence"]) for line in lines}
    cells = [(k, p, t, s) for s in range(flags.seeds) for t in tasks for k in flags.kinds for p in PRIORS]
    for kind, prior, task, seed in cells:
        if (kind, prior, task.name, seed, flags.confidence) in done:
            continue
        regret = [float(f"{one:.4g}") for one in play(task, kind, prior, seed, flags.confidence)]
        cell = {"kind": kind, "prior": prior, "task": task.name, "seed": seed, "confidence": flags.confidence}
        lines.append({**cell, "regret": regret})
        jsonl.append(RAW, lines[-1])
    shown = [line for line in lines if line["confidence"] == flags.confidence and line["kind"] in flags.kinds]
    print(means(shown, "prior", "prior"))


if __name__ == "__main__":
    main()
