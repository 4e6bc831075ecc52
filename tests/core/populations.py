"""Populations of PBT, for the tests of its rule and of its params."""

from __future__ import annotations

from typing import Any

from tuner.core.events import Free
from tuner.spec.experiment import Experiment

from .experiments import PLAIN, Hand, experiment


def pbt(trials: int = 4, slots: int = 4, mode: str = "max", seed: int = 0, space: Any = None, **scheduler: Any) -> Hand:
    return Hand(spec(trials, mode=mode, seed=seed, space=space, **scheduler), slots)


def spec(trials: int = 4, mode: str = "max", seed: int = 0, space: Any = None, **scheduler: Any) -> Experiment:
    return experiment(
        scheduler={"kind": "pbt", **scheduler},
        space=space or PLAIN,
        seed=seed,
        objective={"metric": "score", "mode": mode},
        budget={"trials": trials, "epochs": 20},
    )


def population(run: Hand) -> list[str]:
    """Begin all members with params drawn by the search."""
    for _ in range(run.spec.trials):
        run.do(Free())
    return list(run.core.run.trials)
