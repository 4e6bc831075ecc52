"""What each kind of search finds on functions with a known optimum: `python -m benchmarks.searches`.

No model is trained: a trial is one value, played by the core, so that the search alone is measured, without a
scheduler. It writes each seed's best value to raw/searches.json, and prints the Markdown table of docs/README.md: the
median over seeds of the best value after some trials, and the quartiles.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import machine
from tuner.core.records import Report
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

SEEDS = 10
TRIALS = 50
NUMBERS = {name: {"dist": "float", "low": -1.0, "high": 1.0} for name in "abcd"}
MIXED = {**NUMBERS, "kind": {"dist": "choice", "values": [0, 1, 2, 3]}}


def bowl(params: Mapping[str, Any], epoch: int) -> float:
    """Measure the distance from the optimum: all four numbers matter, `a` most, `d` least."""
    aims = {"a": 0.3, "b": -0.2, "c": 0.7, "d": -0.6}
    return sum((params[name] - aim) ** 2 / 2**place for place, (name, aim) in enumerate(aims.items()))


def valley(params: Mapping[str, Any], epoch: int) -> float:
    """Measure the same in other directions: what is best for one number hangs on the others."""
    a, b, c, d = (params[name] for name in "abcd")
    return (a + b - 0.5) ** 2 + (a - b) ** 2 / 20 + (c + d) ** 2 + (c - d - 0.8) ** 2 / 20


def mixed(params: Mapping[str, Any], epoch: int) -> float:
    """Add a choice: one of four is right, and each has its own best `a`."""
    shift = (0.0, 0.4, -0.4, 0.8)[params["kind"]]
    return bowl({**params, "a": params["a"] - shift}, epoch) + 0.3 * (params["kind"] != 1)


TASKS = {"bowl": (bowl, NUMBERS), "valley": (valley, NUMBERS), "mixed": (mixed, MIXED)}
KINDS = ("random", "qmc", "tpe", "gp", "cmaes")
RAW = Path(__file__).parent / "raw" / "searches.json"


def best(task: str, kind: str, seed: int) -> float:
    """Run one search; returns its best value."""
    curve, space = TASKS[task]
    spec = Experiment.model_validate(
        {
            "trainable": "module:function",
            "objective": {"metric": "loss", "mode": "min"},
            "budget": {"trials": TRIALS, "epochs": 1},
            "space": space,
            "search": {"kind": kind},
            "scheduler": {"kind": "none"},
            "seed": seed,
        }
    )
    records = Simulation(spec, curve, slots=2).run()
    return min(record.metrics["loss"] for record in records if isinstance(record, Report))


def table(found: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Show median and quartiles for each search and task."""
    lines = [f"| search | {' | '.join(TASKS)} |", f"|---|{'---|' * len(TASKS)}"]
    for kind, tasks in found.items():
        cells = []
        for task in TASKS:
            if task not in tasks:
                cells.append("–")
                continue
            low, middle, high = statistics.quantiles(tasks[task], n=4)
            cells.append(f"{middle:.4f} ({low:.4f} to {high:.4f})")
        lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run each search on each task with each seed, keep the values, print the table."""
    pairs = [(kind, task) for kind in KINDS for task in TASKS if (kind, task) != ("cmaes", "mixed")]
    jobs = [(task, kind, seed) for kind, task in pairs for seed in range(SEEDS)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        values = list(pool.map(best, *zip(*jobs, strict=True)))
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for place, (kind, task) in enumerate(pairs):
        found[kind][task] = values[place * SEEDS : (place + 1) * SEEDS]
    data = {"machine": machine.facts(), "trials": TRIALS, "best": found}
    RAW.write_text(json.dumps(data, indent=1) + "\n")
    print(f"{table(found)}\n{RAW}")


if __name__ == "__main__":
    main()
