"""What searches find among choices, whole numbers and conditions, in real training: `python -m benchmarks.mixed`.

The shipped MLP on scikit-learn's digits, the space of search_spaces/mlp.yaml, 27 epochs. The core decides as in a run,
under the simulator's clock with eight workers; an epoch is trained when its report is due, so a trial that is not
trained on costs no more. Each run is kept in raw/mixed.json when it is done; one that is there is not made again. It
prints the table of docs/search/auto.md: the mean over seeds of the best val_loss after so many full trainings.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks import machine
from benchmarks.replay.trace import WORKERS
from trainables import mlp
from trainables.data import load, loader
from tuner.core.student import error_of_mean, mean
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.load import load as read

HERE = Path(__file__).parent
RAW = HERE / "raw" / "mixed.json"
SPACE = HERE.parent / "search_spaces" / "mlp.yaml"
EPOCHS, SHOWN = 27, (5, 10, 20)
METHODS: dict[str, tuple[str, str]] = {
    "auto": ("auto", "auto"),
    "random, asha": ("random", "asha"),
    "tpe, asha": ("tpe", "asha"),
    "random": ("random", "none"),
}
"""Name → kinds of search and scheduler."""


def training(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    """Train epoch by epoch as `trainables.mlp.train` does; yields val_loss. Others may train in between."""
    data, cpu = load("digits"), torch.device("cpu")
    batches = loader(data.train, 64, shuffle=True, workers=0, seed=seed)
    torch.manual_seed(seed)
    model = mlp.make_model(data, **{name: params[name] for name in ("layers", "width", "dropout", "activation")})
    settings = {name: params[name] for name in ("lr", "weight_decay")}
    steps = mlp.make_optimizer(model, params["optimizer"], **settings, momentum=params.get("momentum", 0.0))
    state = torch.get_rng_state()
    while True:
        torch.set_rng_state(state)  # dropout draws from the state that all trials share
        model.train()
        for images, labels in batches:
            loss = functional.cross_entropy(model(data.normalize(images)), labels)
            steps.zero_grad()
            loss.backward()
            steps.step()
        state = torch.get_rng_state()
        yield mlp.evaluate(model, data, data.val, cpu, name="val")["val_loss"]


class Training(Simulation):
    """Workers that train models, on a virtual clock."""

    def __init__(self, spec: Experiment) -> None:
        super().__init__(spec, lambda params, epoch: math.nan, WORKERS, as_lines=False)
        self.models: dict[str, Iterator[float]] = {}
        self.best = [math.inf]
        """The best value after each epoch of all trials together."""

    def value(self, trial: TrialState, epoch: int) -> float:
        """Train one more epoch."""
        seed = self.spec.seed * 1000 + trial.number
        value = next(self.models.setdefault(trial.id, training(trial.params, seed)))
        self.best.append(min(self.best[-1], value) if math.isfinite(value) else self.best[-1])
        return value


def play(method: str, seed: int) -> list[float]:
    """Give the best val_loss at each of the budgets."""
    (search, scheduler), budget = METHODS[method], SHOWN[-1] * EPOCHS
    spec = Experiment.model_validate(
        {
            "trainable": "trainables.mlp:train",
            "objective": {"metric": "val_loss", "mode": "min"},
            "budget": {"trials": budget, "epochs": EPOCHS},
            "space": read(SPACE).experiment.space,
            "seed": seed,
            "search": {"kind": search, **({"epochs": budget} if search == "auto" else {})},
            "scheduler": {"kind": scheduler},
        }
    )
    run = Training(spec)
    run.fill()
    while run.busy and len(run.best) <= budget:
        run.step()
    return [run.best[min(shown * EPOCHS, len(run.best) - 1)] for shown in SHOWN]


def table(runs: list[dict[str, Any]]) -> str:
    """Show the mean over seeds with its standard error, and how often `auto` was ahead of each with the same seed."""
    lines = [f"| search, scheduler | {' | '.join(map(str, SHOWN))} | `auto` ahead at {SHOWN[-1]} |"]
    lines.append(f"|---|{'---|' * (len(SHOWN) + 1)}")
    of = {method: {run["seed"]: run["best"] for run in runs if run["method"] == method} for method in METHODS}
    for method, found in of.items():
        columns = [[best[i] for best in found.values()] for i in range(len(SHOWN))]
        cells = [f"{mean(column):.4f} ± {error_of_mean(column):.4f}" for column in columns]
        pairs = [of["auto"][seed][-1] < best[-1] for seed, best in found.items() if seed in of["auto"]]
        ahead = "" if method == "auto" else f"{sum(pairs)} of {len(pairs)}"
        kinds = ", ".join(f"`{kind}`" for kind in METHODS[method])
        lines.append(f"| {kinds} | {' | '.join(cells)} | {ahead} |")
    return "\n".join(lines)


def main() -> None:
    """Play what is not kept yet, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    kept = json.loads(RAW.read_text()) if RAW.exists() else {"machine": machine.facts(), "runs": []}
    done = {(run["method"], run["seed"]) for run in kept["runs"]}
    for seed, method in [(seed, method) for seed in seeds for method in METHODS if (method, seed) not in done]:
        kept["runs"].append({"method": method, "seed": seed, "best": [round(one, 6) for one in play(method, seed)]})
        RAW.write_text(json.dumps(kept, indent=1) + "\n")
    print(table(kept["runs"]))


if __name__ == "__main__":
    main()
