"""Values that hold as such, and with which a run may hang, crash or not do what was meant: none is begun with them.

They are no rules of the spec: a ledger that was written before them has to be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Asha, Hyperband, SomeScheduler
from tuner.spec.model import Broken
from tuner.spec.space import Choice, Float, Int, SomeDimension
from tuner.spec.words import brief, shown

LEAST_FACTOR = 1.01
"""Rungs nearer than this are looked for one by one, for hours."""
LEAST_CONFIDENCE, MOST_CONFIDENCE = 1e-6, 1 - 1e-6
"""Less is no belief, and its deviation is infinite; more leaves none."""
MOST_STEPS, MOST_OF_GP = 10**9, 10**6
"""Optuna counts steps in decimal numbers, and fails where there are very many; `gp` keeps a number for each."""


def check(experiment: Experiment) -> Iterator[Broken]:
    """Yield each value with which a run may hang, crash or not do what was meant."""
    yield from check_scheduler(experiment.scheduler)
    for name, dimension in experiment.space.items():
        if not isinstance(dimension, Choice):
            yield from _in_range(("space", name), dimension)
        if not LEAST_CONFIDENCE <= dimension.sureness <= MOST_CONFIDENCE:
            what = f"must be from {LEAST_CONFIDENCE:f} to {MOST_CONFIDENCE:f}, but got {dimension.sureness!r}"
            instead = "put the value under fixed" if dimension.sureness > 0.5 else "remove the prior"
            yield Broken(("space", name, "confidence"), what, f"Use such a number, or {instead}.")
        if experiment.search.kind == "nsga2" and dimension.prior is not None:
            what = f"must be left out where search.kind is nsga2, which hears of none, but got {shown(dimension.prior)}"
            yield Broken(("space", name, "prior"), what, "Remove it, or use search.kind: tpe.")
        if experiment.search.kind == "gp" and (size := _steps(dimension)) > MOST_OF_GP:
            what = f"must have at most {MOST_OF_GP:,} values where search.kind is gp, but got {brief(size)}"
            yield Broken(("space", name), what, "Use a larger step, or dist: float without one.")


def check_scheduler(scheduler: SomeScheduler) -> Iterator[Broken]:
    """Yield what of a scheduler a run, or a replay, would hang with."""
    if isinstance(scheduler, Asha | Hyperband) and scheduler.reduction_factor < LEAST_FACTOR:
        what = f"must be at least {LEAST_FACTOR}, but got {brief(scheduler.reduction_factor)}"
        yield Broken(("scheduler", "reduction_factor"), what, "Use a larger number; 3 is usual.")


def _in_range(place: tuple[str, str], dimension: Float | Int) -> Iterator[Broken]:
    if dimension.log and math.log(dimension.low) == math.log(dimension.high):
        what = f"must be further above low ({brief(dimension.low)}) where log is true, but got {brief(dimension.high)}"
        yield Broken((*place, "high"), what, "Widen the range, or remove log.")
    if isinstance(dimension, Float) and _steps(dimension) > MOST_STEPS:
        least = (dimension.high - dimension.low) / MOST_STEPS
        what = f"must be at least {brief(least)}, a billionth of the range, but got {brief(dimension.step)}"
        yield Broken((*place, "step"), what, "Make it larger, or leave it out.")


def _steps(dimension: SomeDimension) -> float:
    """Count the values that lie a step apart; 0 where there is no step."""
    if isinstance(dimension, Choice) or not dimension.step:
        return 0.0
    return (dimension.high - dimension.low) / dimension.step
