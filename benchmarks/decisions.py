"""What a decision of `auto` costs as the rows of its model grow: `python -m benchmarks.decisions`.

The core alone plays trials on curves with noise, eight at a time; a step takes in one report and answers the workers
that it frees. What is counted is the CPU time of the driver's event loop: fits, which run beside it, are told apart. A
row is what a trial showed at one rung. It prints the table of docs/search/auto.md, and keeps it in raw/decisions.json.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine
from tuner.core.search.model import Fitted, Job
from tuner.core.search.thaw import FreezeThaw
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

KEPT = Path(__file__).parent / "raw" / "decisions.json"
STEP = 1000
"""Rows that stand in one line together."""
SPACE = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "momentum": {"dist": "float", "low": 0.0, "high": 0.99},
    "layers": {"dist": "int", "low": 1, "high": 8},
    "optimizer": {"dist": "choice", "values": ["sgd", "adamw"]},
}


def curve(params: Mapping[str, Any], epoch: int) -> float:
    """Give a curve that rises with the epochs, with a ripple for noise."""
    best = -((math.log10(params["lr"]) + 2) ** 2) - (10 * (params["momentum"] - 0.9)) ** 2 - (params["layers"] - 4) ** 2
    return best / 10 - 3 * 0.8**epoch + 0.3 * math.sin(37_000 * params["lr"] + epoch)


class Aside:
    """Computes a fit at once, and keeps what that took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, job: Job) -> Job:
        """Take the place of `Model.later`."""
        begun = time.process_time()
        found: Fitted = job()
        self.seconds.append(time.process_time() - begun)
        return lambda: found


def measure(trials: int, epochs: int, rows: int) -> dict[str, Any]:
    """Play a run until its model has so many rows."""
    budget = {"trials": trials, "epochs": epochs}
    spec = Experiment.model_validate(
        {"trainable": "x:train", "objective": {"metric": "score", "mode": "max"}, "budget": budget, "space": SPACE,
         "search": {"kind": "auto"}, "scheduler": {"kind": "auto"}}
    )  # fmt: skip
    simulation, aside = Simulation(spec, lambda params, epoch: {"score": curve(params, epoch)}, slots=8), Aside()
    asker, costs, begun_by = simulation.core.asker, defaultdict[int, list[float]](list), dict[int, int]()
    assert isinstance(asker, FreezeThaw)
    asker.model.later = aside
    simulation.fill()
    while simulation.busy and len(asker.model.seen) < rows:
        begun, fits = time.process_time(), sum(aside.seconds)
        simulation.step()
        taken = time.process_time() - begun - (sum(aside.seconds) - fits)
        place = (len(asker.model.seen) - 1) // STEP
        costs[place].append(1000 * taken)
        begun_by[place] = len(simulation.core.run.trials)
    lines = [_line(place, costs[place], begun_by[place]) for place in sorted(costs)]
    spent = 0.0
    for place, line in zip(sorted(costs), lines, strict=True):
        spent += sum(costs[place])
        line["suggestion"] = spent / line["trials"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"lines": lines, "fits": aside.seconds, "trials": len(simulation.core.run.trials), "MiB": memory}


def _line(place: int, costs: list[float], trials: int) -> dict[str, float]:
    ordered = sorted(costs)
    return {"rows": (place + 1) * STEP, "trials": trials, "mean": statistics.fmean(ordered),
            "p95": ordered[int(0.95 * len(ordered))], "most": ordered[-1]}  # fmt: skip


def main() -> None:
    """Measure, keep it, and print the table."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    flags.add_argument("--trials", type=int, default=5000)
    flags.add_argument("--epochs", type=int, default=50)
    flags.add_argument("--rows", type=int, default=8000)
    given = flags.parse_args()
    found = {"machine": machine.facts(), **measure(given.trials, given.epochs, given.rows)}
    KEPT.write_text(json.dumps(found, indent=1) + "\n")
    print("| rows up to | trials | CPU of a step, ms: mean | 95th percentile | most | all so far for each trial, ms |")
    print("|---|---|---|---|---|---|")
    for line in found["lines"]:
        step = f"{line['mean']:.0f} | {line['p95']:.0f} | {line['most']:.0f}"
        print(f"| {line['rows']:,} | {line['trials']:,} | {step} | {line['suggestion']:.0f} |")
    print(f"{found['trials']} trials, {found['MiB']:.0f} MiB, the longest fit {max(found['fits']):.1f} s of CPU")


if __name__ == "__main__":
    main()
