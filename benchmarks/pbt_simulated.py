"""PBT on a problem made for it, against a random population: `python -m benchmarks.pbt_simulated`.

A member is SGD with momentum on a noisy quadratic: the best learning rate is high at first and falls later.
The core plays the populations; a clone goes on from its donor's weights. It prints the table of
docs/schedulers/pbt.md: the best log10 of the loss over all members, at equal epochs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from itertools import accumulate
from typing import Any

import numpy as np

from tuner.core import epochs
from tuner.core.records import Report
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

CURVATURES = np.logspace(0, -2, 20)
STEPS = 20
"""So many in an epoch."""
EPOCHS, INTERVAL = 27, 3
SPACE: dict[str, Any] = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "momentum": {"dist": "float", "low": 0.0, "high": 0.99},
    "wd": {"dist": "float", "low": 1e-6, "high": 1e-1, "log": True},
    "u": {"dist": "float", "low": 0.0, "high": 1.0},
}
Weights = tuple[np.ndarray, np.ndarray]
"""Distance from the optimum, and velocity."""


class Population(Simulation):
    """Members with weights, which are kept by the names of their checkpoints."""

    def __init__(self, spec: Experiment) -> None:
        self.kept: dict[str, Weights] = {}
        super().__init__(spec, lambda params, epoch: math.nan, slots=spec.trials)

    def value(self, trial: TrialState, epoch: int) -> float:
        """Train an epoch from where the member, or its donor, stands."""
        dice = np.random.default_rng([self.spec.seed, trial.number, trial.generation, epoch])
        params, (weights, velocity) = trial.params, self._before(trial, epoch)
        for _ in range(STEPS):
            noise = np.sqrt(CURVATURES) * dice.standard_normal(20) * 0.7
            gradient = CURVATURES * weights + noise + params["wd"] * (weights - 1)
            velocity = params["momentum"] * velocity + gradient
            weights = weights - params["lr"] * velocity
        with np.errstate(all="ignore"):
            loss = 0.5 * float(np.sum(CURVATURES * weights**2))
        # The fourth param changes nothing of the weights; its best value moves with the epochs.
        loss *= 1 + (params["u"] - 0.5 - 0.3 * math.cos(epoch / 9)) ** 2
        if not math.isfinite(loss) or loss > 1e6:
            return math.nan
        self.kept[_name(trial, epoch)] = (weights, velocity)
        return math.log10(loss + 1e-12)

    def _before(self, trial: TrialState, epoch: int) -> Weights:
        if trial.clone is not None and epoch == trial.clone.epoch + 1:
            return self.kept[trial.clone.checkpoint]
        return (np.full(20, 3.0), np.zeros(20)) if epoch == 1 else self.kept[_name(trial, epoch - 1)]


def _name(trial: TrialState, epoch: int) -> str:
    return f"trials/{trial.id}/checkpoints/g{trial.generation}_e{epoch:04d}_a1.0"


def best(scheduler: dict[str, Any], population: int, seed: int) -> float:
    """Play a population; returns its best value."""
    spec = Experiment.model_validate(
        {
            "trainable": "module:function",
            "objective": {"metric": "loss", "mode": "min"},
            "budget": {"trials": population, "epochs": EPOCHS},
            "space": SPACE,
            "search": {"kind": "random"},
            "scheduler": scheduler,
            "seed": seed,
        }
    )
    reports = [record for record in Population(spec).run() if isinstance(record, Report)]
    trained = accumulate(epochs.between(reports))
    # A clone may go on from an earlier epoch, so that PBT trains for longer: what comes then does not count.
    values = [one.metrics["loss"] for one, spent in zip(reports, trained, strict=True) if spent <= population * EPOCHS]
    return min(value for value in values if math.isfinite(value))


def main() -> None:
    """Play both populations with each seed, and print what PBT has less."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--resample", type=float, default=0.25)
    flags = parser.parse_args()
    pbt = {"kind": "pbt", "interval_epochs": INTERVAL, "resample": flags.resample}
    print("| population | seeds | random | PBT | difference |\n|---|---|---|---|---|")
    for population in (4, 8):
        pairs = [(best({"kind": "none"}, population, s), best(pbt, population, s)) for s in range(flags.seeds)]
        differences = [after - before for before, after in pairs]
        means = [statistics.mean(pair[i] for pair in pairs) for i in range(2)]
        width = 2 * statistics.stdev(differences) / math.sqrt(len(differences))
        print(
            f"| {population} | {flags.seeds} | {means[0]:.3f} | {means[1]:.3f} | "
            f"{statistics.mean(differences):+.3f} ± {width:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
