"""Values that hold as such, and with which nothing can be computed: a new run is not begun with them.

They are no rules of the spec: a ledger that was written before them has to be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Asha, Hyperband
from tuner.spec.model import Broken
from tuner.spec.space import Choice, Float, SomeDimension
from tuner.spec.words import brief

LEAST_FACTOR = 1.01
"""Rungs nearer than this are looked for one by one, for hours."""
LEAST_CONFIDENCE = 1e-6
"""Less is no belief, and its deviation is infinite."""
MOST_STEPS = 10**9
"""Optuna counts steps in decimal numbers, and fails where there are very many."""


def check(experiment: Experiment) -> Iterator[Broken]:
    """Yield each value with which a run would hang or crash."""
    scheduler = experiment.scheduler
    if isinstance(scheduler, Asha | Hyperband) and scheduler.reduction_factor < LEAST_FACTOR:
        got = brief(scheduler.reduction_factor)
        yield Broken(("scheduler", "reduction_factor"), f"must be at least {LEAST_FACTOR}, but got {got}",
                     "Use a larger number; 3 is usual.")  # fmt: skip
    for name, dimension in experiment.space.items():
        yield from _in_dimension(("space", name), dimension)


def _in_dimension(place: tuple[str, str], dimension: SomeDimension) -> Iterator[Broken]:
    if dimension.sureness < LEAST_CONFIDENCE:
        what = f"must be at least {LEAST_CONFIDENCE}, but got {brief(dimension.sureness)}"
        yield Broken((*place, "confidence"), what, "Use a larger number, or remove the prior.")
    if not isinstance(dimension, Choice) and dimension.log and math.log(dimension.low) == math.log(dimension.high):
        what = f"must be further above low ({brief(dimension.low)}) where log is true, but got {brief(dimension.high)}"
        yield Broken((*place, "high"), what, "Widen the range, or remove log.")
    if isinstance(dimension, Float) and dimension.step is not None:
        least = (dimension.high - dimension.low) / MOST_STEPS
        if dimension.step < least:
            what = f"must be at least {brief(least)}, a billionth of the range, but got {brief(dimension.step)}"
            yield Broken((*place, "step"), what, "Make it larger, or leave it out.")
