"""Runs that confirm, for its tests: with noise that a seed fixes, or driven by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tuner.core.events import Free
from tuner.core.records import Promoted, Repeated
from tuner.core.trial import TrialState
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

from .experiments import Hand, experiment


class Noisy(Simulation):
    """Trials whose values are their x and some noise, which their seed fixes."""

    noise = 0.3

    def value(self, trial: TrialState, epoch: int) -> float:
        dice = random.Random(f"{trial.training_seed(self.spec.seed)} {trial.params['x']} {epoch}")
        return float(trial.params["x"] * (1 - 0.5**epoch) + self.noise * dice.gauss(0, 1))


def noisy(spec: Experiment, noise: float = 0.3, slots: int = 2) -> Simulation:
    simulation = Noisy(spec, lambda params, epoch: 0.0, slots)
    simulation.noise = noise
    return simulation


def searched(xs: list[float], slots: int = 2, **parts: Any) -> Hand:
    """A run whose search is over: trial n has found x of place n."""
    spec = {"budget": {"trials": len(xs), "epochs": 2}, "confirm": {"top": 3, "seeds": 5}, **parts}
    hand = Hand(experiment(**spec), slots)
    for x in xs:
        (name,) = hand.start(1, x=x)
        for epoch in range(1, hand.spec.budget.epochs + 1):
            hand.report(name, epoch, x)
    return hand


def repeat(hand: Hand, value: Callable[[TrialState], float]) -> list[str]:
    """Confirm to the end, one repeat after the other; returns their names in order."""
    names = []
    while isinstance(record := hand.do(Free()), Repeated | Promoted):
        names.append(record.trial)
        trial = hand.core.run.find(record.trial)
        while trial.status == "running":
            hand.report(trial.id, trial.epoch + 1, value(trial))
    return names


def flat(trial: TrialState) -> float:
    return float(trial.params["x"])
