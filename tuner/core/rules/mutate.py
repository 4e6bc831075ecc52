"""How a clone's params differ from its donor's: within the space, and with its conditions kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner.core import chance
from tuner.core.search.scale import draw
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Pbt
from tuner.spec.space import Choice, Float, Int, SomeDimension, indices, made, snap

FACTORS = (0.8, 1.2)


def mutate(spec: Experiment, donor: TrialState, key: Sequence[int | str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Perturb or draw anew each parameter that may change; copy the rest from the donor."""
    assert isinstance(spec.scheduler, Pbt)
    allowed, resample = spec.scheduler.mutate, spec.scheduler.resample

    def changed(name: str, dimension: SomeDimension) -> Any:
        chances = [chance.uniform(spec.seed, "mutate", *key, name, i) for i in range(2)]
        may_change = name in allowed if allowed is not None else not isinstance(dimension, Choice)
        if name not in donor.params:
            return draw(dimension, chances[1])
        if not may_change:
            return donor.params[name]
        if chances[0] < resample:
            return draw(dimension, chances[1])
        return perturb(dimension, donor.params[name], upwards=chances[1] >= 0.5)

    params = made(spec.space, changed)
    return params, indices(spec.space, params)


def perturb(dimension: Float | Int | Choice, value: Any, upwards: bool) -> Any:
    """Change a number by a factor, and one with steps by one at least; a choice to its neighbour; bounds hold."""
    if isinstance(dimension, Choice):
        index = dimension.index(value) + (1 if upwards else -1)
        return dimension.values[min(max(index, 0), len(dimension.values) - 1)]
    changed = snap(dimension, value * FACTORS[upwards])
    if dimension.step is not None and changed == snap(dimension, value):
        changed = snap(dimension, value + (dimension.step if upwards else -dimension.step))
    return changed
