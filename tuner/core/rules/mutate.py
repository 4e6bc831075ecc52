"""How a clone's params differ from its donor's: within the space, and with its conditions kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tuner.core import chance
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Pbt
from tuner.spec.space import Choice, Float, Int, order

FACTORS = (0.8, 1.2)


def mutate(spec: Experiment, donor: TrialState, key: Sequence[int | str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Perturb or draw anew each parameter that may change; copy the rest from the donor."""
    assert isinstance(spec.scheduler, Pbt)
    allowed = spec.scheduler.mutate
    params: dict[str, Any] = {}
    for name in order(spec.space):
        dimension = spec.space[name]
        if not dimension.active(params):
            continue
        chances = [chance.uniform(spec.seed, "mutate", *key, name, i) for i in range(2)]
        may_change = name in allowed if allowed is not None else not isinstance(dimension, Choice)
        if name not in donor.params:
            params[name] = draw(dimension, chances[1])
        elif not may_change:
            params[name] = donor.params[name]
        elif chances[0] < spec.scheduler.resample:
            params[name] = draw(dimension, chances[1])
        else:
            params[name] = perturb(dimension, donor.params[name], upwards=chances[1] >= 0.5)
    choices = {n: d.index(params[n]) for n, d in spec.space.items() if isinstance(d, Choice) and n in params}
    return params, choices


def draw(dimension: Float | Int | Choice, u: float) -> Any:
    """Map a uniform number in [0, 1) to a value of the dimension."""
    if isinstance(dimension, Choice):
        return dimension.values[int(u * len(dimension.values))]
    if dimension.log:
        low, high = math.log(dimension.low), math.log(dimension.high)
        return snap(dimension, math.exp(low + u * (high - low)))
    return snap(dimension, dimension.low + u * (dimension.high - dimension.low))


def perturb(dimension: Float | Int | Choice, value: Any, upwards: bool) -> Any:
    """Change a number by a factor, a choice to its neighbour; bounds hold."""
    if isinstance(dimension, Choice):
        index = dimension.index(value) + (1 if upwards else -1)
        return dimension.values[min(max(index, 0), len(dimension.values) - 1)]
    changed = snap(dimension, value * FACTORS[upwards])
    if isinstance(dimension, Int) and changed == value:
        changed = snap(dimension, value + (dimension.step if upwards else -dimension.step))
    return changed


def snap(dimension: Float | Int, value: float) -> float | int:
    """Bring a number into the bounds and onto the steps."""
    value = min(max(value, dimension.low), dimension.high)
    if isinstance(dimension, Int):
        steps = int((value - dimension.low) / dimension.step + 0.5)
        return dimension.low + min(steps, (dimension.high - dimension.low) // dimension.step) * dimension.step
    if dimension.step is not None:
        # Where the steps do not end at `high`, the last one lies below it.
        last = math.floor((dimension.high - dimension.low) / dimension.step + 1e-8)
        steps = min(round((value - dimension.low) / dimension.step), last)
        return min(dimension.low + steps * dimension.step, dimension.high)
    return value
