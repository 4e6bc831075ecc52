"""Runs for the tests of the search: one case for every kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from tuner.core.records import Record, Suggested
from tuner.core.search.kinds import KINDS
from tuner.core.search.study import StudySearcher
from tuner.spec.experiment import Experiment

from .experiments import CONDITIONAL, PLAIN, STEPPED, Hand, curve, experiment, play, simulate

CASES = {
    "tpe": PLAIN,
    "tpe conditional": CONDITIONAL,
    "gp": {name: PLAIN[name] for name in ("lr", "momentum")},  # an int makes it three times as slow
    "gp conditional": CONDITIONAL,
    "cmaes": PLAIN,
    "nsga2": PLAIN,
    "nsga2 conditional": CONDITIONAL,
    "qmc": {**PLAIN, "widths": CONDITIONAL["widths"]},
    "qmc halton": PLAIN,
    "random": PLAIN,
    "random conditional": CONDITIONAL,
    "grid": STEPPED,
}
"""Every kind, and those that allow conditions with conditions too."""


def spec(case: str, seed: int = 0, trials: int = 22, **parts: Any) -> Experiment:
    kind, _, variant = case.partition(" ")
    search: dict[str, Any] = {"kind": kind}
    if kind in ("tpe", "gp"):
        search["startup"] = {"tpe": 5, "gp": 7}[kind]
    if kind == "nsga2":
        search["population"] = 4
    if variant == "halton":
        search["sequence"] = variant
    usual = {"scheduler": {"kind": "asha", "quota": False}, "budget": {"trials": trials, "epochs": 9}}
    if kind == "cmaes":
        # It learns from trials that ran to their end alone, seven a generation.
        usual = {"scheduler": {"kind": "none"}, "budget": {"trials": trials, "epochs": 2}}
    return experiment(search=search, space=CASES[case], seed=seed, **{**usual, **parts})


def mostly(params: Mapping[str, Any], epoch: int) -> float:
    """Diverge in one of nine configurations."""
    value = curve(params, epoch)
    return math.nan if int(value * 1e6) % 9 == 0 and epoch == 2 else value


@cache
def played(case: str, seed: int = 0, arrivals: int = 0) -> tuple[Record, ...]:
    return tuple(play(spec(case, seed), mostly, slots=3, seed=arrivals, faults=0.08).records)


def suggestions(records: tuple[Record, ...]) -> list[Suggested]:
    return [record for record in records if isinstance(record, Suggested)]


def searcher(case: Experiment, records: tuple[Record, ...]) -> StudySearcher:
    found = StudySearcher(case, KINDS[case.search.kind][0])
    for record in records:
        found.observe(record)
    return found


def smooth(params: Mapping[str, Any], epoch: int) -> float:
    """A bowl around lr 0.01, momentum 0.9 and four layers."""
    lr, momentum, layers = params["lr"], params["momentum"], params["layers"]
    return (math.log10(lr) + 2) ** 2 + (10 * (momentum - 0.9)) ** 2 + ((layers - 4) / 2) ** 2


def best(kind: str, seed: int, trials: int, **parts: Any) -> float:
    made = experiment(
        space=PLAIN,
        search={"kind": kind},
        seed=seed,
        objective={"metric": "score", "mode": "min"},
        budget={"trials": trials, "epochs": 1},
        **parts,
    )
    hand = Hand(made)
    for record in simulate(made, smooth, slots=2):
        hand.core.apply(record)
    assert hand.core.run.best is not None
    return hand.core.run.best.value
