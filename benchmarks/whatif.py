"""How near `--replay` comes to the truth where curves end too early: `python -m benchmarks.whatif --data FOLDER`.

On recorded learning curves (the folder of benchmarks/search.py) both can be known: what a run that stops early records,
replayed under another scheduler, and what that scheduler makes of the same trials where every curve is whole. It writes
raw/whatif.json and prints the Markdown table of docs/replay.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from tuner.core import chance
from tuner.core.course import Course
from tuner.core.trial import TrialState
from tuner.replay import Curves, Replay
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

RAW = Path(__file__).parent / "raw" / "whatif.json"
SLOTS = 8
RAN: dict[str, dict[str, Any]] = {
    "asha": {"kind": "asha", "quota": False},
    "asha, promote": {"kind": "asha", "promote": True},
}
OTHERS: dict[str, dict[str, Any]] = {
    **RAN,
    "asha, factor 4": {"kind": "asha", "quota": False, "reduction_factor": 4},
    "asha, factor 2": {"kind": "asha", "quota": False, "reduction_factor": 2},
    "asha, grace 3": {"kind": "asha", "quota": False, "grace_epochs": 3},
    "hyperband": {"kind": "hyperband"},
}


def tasks(folder: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield name, mode and values (configs x epochs) of each task."""
    taskset = np.load(folder / "taskset" / "taskset_rnn_imdb.npz", allow_pickle=True)
    for name, values in zip(taskset["tasks"], taskset["valid_loss"][:, :, 1:], strict=True):
        yield str(name), "min", values
    lcbench = np.load(folder / "lcbench" / "lcbench_surrogate_sample.npz", allow_pickle=True)
    for name, values in zip(lcbench["tasks"], lcbench["val_accuracy"], strict=True):
        yield str(name), "max", values


def spec(mode: str, scheduler: Mapping[str, Any], trials: int, epochs: int) -> Experiment:
    """Make the experiment; the params only number the trials."""
    return Experiment.model_validate(
        {
            "trainable": "module:function",
            "objective": {"metric": "value", "mode": mode},
            "budget": {"trials": trials, "epochs": epochs},
            "space": {"x": {"dist": "float", "low": 0.0, "high": 1.0}},
            "search": {"kind": "random"},
            "scheduler": dict(scheduler),
        }
    )


class Table(Simulation):
    """Trials that are rows of a table, drawn by a seed."""

    def __init__(self, spec: Experiment, values: np.ndarray, seed: int) -> None:
        self.values, self.seed = values, seed
        super().__init__(spec, lambda params, epoch: 0.0, SLOTS)

    def value(self, trial: TrialState, epoch: int) -> float:
        """Look into the table."""
        row = chance.integer(self.seed, "row", trial.number, below=len(self.values))
        return float(self.values[row, epoch - 1])


def played(spec: Experiment, curves: Curves) -> Replay:
    """Play recorded trials to their end."""
    replay = Replay(spec, curves)
    replay.run()
    return replay


def compare(said: Course, truth: Course) -> dict[str, float]:
    """Hold what a replay says against the truth."""
    return {
        "epochs": said.epochs / truth.epochs,
        "same": float(said.trial == truth.trial),
        "carried": said.carried_epochs / said.epochs,
        "uncertain": said.uncertain / max(1, said.decisions),
    }


def measure(values: np.ndarray, mode: str, trials: int, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """Compare each pair of schedulers on the same trials."""
    epochs, found = values.shape[1], {}
    whole = Table(spec(mode, {"kind": "none"}, trials, epochs), values, seed)
    whole.run()
    full = Curves(whole.records)
    for name, scheduler in RAN.items():
        recorded = Curves(played(spec(mode, scheduler, trials, epochs), full).records)
        for other in OTHERS:
            if other != name:
                asked = spec(mode, OTHERS[other], trials, epochs)
                found[name, other] = compare(played(asked, recorded).course(), played(asked, full).course())
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Show one line for each pair."""
    titles = ("it ran with", "what if", "epochs, told / true", "the same best trial", "epochs not recorded",
              "decisions that hang on them")  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for ran, other in dict.fromkeys((row["ran"], row["other"]) for row in rows):
        some = [row for row in rows if (row["ran"], row["other"]) == (ran, other)]
        deciles = statistics.quantiles([row["epochs"] for row in some], n=10)
        ratio = f"{statistics.median(row['epochs'] for row in some):.2f} ({deciles[0]:.2f} to {deciles[-1]:.2f})"
        shares = [f"{statistics.mean(row[key] for row in some):.0%}" for key in ("same", "carried", "uncertain")]
        lines.append(f"| {' | '.join([ran, other, ratio, *shares])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure every task with every seed, keep the figures, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--raw", type=Path, default=RAW)
    flags = parser.parse_args()
    rows = []
    for task, mode, values in tasks(flags.data):
        for seed in range(flags.seeds):
            for (ran, other), found in measure(values, mode, flags.trials, seed).items():
                rows.append({"task": task, "seed": seed, "ran": ran, "other": other, **found})
        data = {"machine": machine.facts(), "trials": flags.trials, "slots": SLOTS, "rows": rows}
        flags.raw.write_text(json.dumps(data, indent=1) + "\n")
    print(f"{table(rows)}\n{flags.raw}")


if __name__ == "__main__":
    main()
