"""What searches find among choices, whole numbers and conditions, in real training: `python -m benchmarks.mixed`.

The shipped MLP on scikit-learn's digits, the space of search_spaces/mlp.yaml, 27 epochs. The core decides as in a run,
under the simulator's clock with eight workers, on which every epoch takes 1; an epoch is trained when its report is
due, so a trial that is not trained on costs no more. Each run is kept in raw/mixed.jsonl when it is done, and is not
made again while it is there. It prints the table of docs/search/auto.md: the best val_loss after so many full trainings
(epochs of all trials together / epochs of one), the mean over seeds, and by how much `auto` is ahead on the same seed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks import jsonl
from benchmarks.replay.trace import WORKERS
from trainables import mlp
from trainables.data import load, loader
from tuner.core.student import error_of_mean, mean
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.load import load as read

HERE = Path(__file__).parent
RAW = HERE / "raw" / "mixed.jsonl"
FILE = HERE.parent / "search_spaces" / "mlp.yaml"
EPOCHS, SHOWN = 27, (5, 10, 20)
BUDGET = SHOWN[-1] * EPOCHS
"""Epochs of all trials together; so many trials that they never end a run."""
AUTO = ("auto", "auto")
METHODS = (AUTO, ("random", "asha"), ("tpe", "asha"), ("random", "none"))
"""Kinds of search and scheduler."""
Best = list[float]
"""The best val_loss at each of the budgets that are shown."""


def training(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    """Train as `trainables.mlp.train` does, an epoch whenever a value is asked for; yields val_loss."""
    data, cpu = load(params["dataset"]), torch.device("cpu")
    batches = loader(data.train, params["batch_size"], shuffle=True, workers=0, seed=seed)
    torch.manual_seed(seed)
    model = mlp.make_model(data, **{name: params[name] for name in ("layers", "width", "dropout", "activation")})
    settings = {name: params[name] for name in ("lr", "weight_decay")}
    steps = mlp.make_optimizer(model, params["optimizer"], **settings, momentum=params.get("momentum", 0.0))
    state = torch.get_rng_state()
    while True:
        torch.set_rng_state(state)  # dropout draws from it, and other trials train in between
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
        if trial.id not in self.models:
            seed = self.spec.seed * 1000 + trial.number
            self.models[trial.id] = training({**self.spec.fixed, **trial.params}, seed)
        value = next(self.models[trial.id])
        self.best.append(min(self.best[-1], value) if math.isfinite(value) else self.best[-1])
        return value


def experiment(search: str, scheduler: str, seed: int) -> Experiment:
    """Change the shipped file; `auto` is told its budget of epochs, the others are ended when it is used."""
    own = f", epochs: {BUDGET}" if search == "auto" else ""
    changes = [
        f"budget={{trials: {BUDGET}, epochs: {EPOCHS}}}",
        f"search={{kind: {search}{own}}}",
        f"scheduler={{kind: {scheduler}}}",
        f"seed={seed}",
    ]
    return read(FILE, changes).experiment


def play(search: str, scheduler: str, seed: int) -> Best:
    """Let a run train for its budget."""
    run = Training(experiment(search, scheduler, seed))
    run.fill()
    while run.busy and len(run.best) <= BUDGET:
        run.step()
    return [run.best[min(shown * EPOCHS, len(run.best) - 1)] for shown in SHOWN]


def kept() -> dict[tuple[str, str], dict[int, Best]]:
    """Read what was played: kinds → seed → what was found."""
    found: dict[tuple[str, str], dict[int, Best]] = {kinds: {} for kinds in METHODS}
    for line in jsonl.read(RAW):
        found[line["search"], line["scheduler"]][line["seed"]] = line["best"]
    return found


def table(found: Mapping[tuple[str, str], Mapping[int, Best]]) -> str:
    """Show means, and the mean differences to `auto` with the same seed, more where it is ahead; ± standard errors."""
    titles = [
        "search, scheduler",
        *(f"at {shown}" for shown in SHOWN),
        *(f"`auto` ahead at {shown}" for shown in SHOWN),
    ]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for kinds, runs in found.items():
        cells = [_told([best[i] for best in runs.values()]) for i in range(len(SHOWN))]
        pairs = [(best, found[AUTO][seed]) for seed, best in runs.items() if seed in found[AUTO]]
        ahead = [_told([other[i] - best[i] for other, best in pairs], "+") for i in range(len(SHOWN))]
        named = ", ".join(f"`{kind}`" for kind in kinds)
        lines.append(f"| {named} | {' | '.join(cells + (ahead if kinds != AUTO else [''] * len(SHOWN)))} |")
    return "\n".join(lines)


def _told(values: list[float], sign: str = "") -> str:
    return f"{mean(values):{sign}.4f} ± {error_of_mean(values):.4f}"


def main() -> None:
    """Play what is not kept yet, seed by seed, and print the table of all that is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=30, help="runs of each search")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    found = kept()
    for seed, kinds in [(seed, kinds) for seed in seeds for kinds in METHODS if seed not in found[kinds]]:
        best = [round(one, 6) for one in play(*kinds, seed)]
        jsonl.append(RAW, {"search": kinds[0], "scheduler": kinds[1], "seed": seed, "best": best})
    print(table(kept()))


if __name__ == "__main__":
    main()
