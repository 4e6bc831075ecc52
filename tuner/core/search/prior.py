"""What the user believes of the best params: a density over the space, draws from it, and its mode.

Of a number the belief is a normal distribution around `prior` on the scale from 0 to 1 (logarithmic where the space
is), cut off at the ends of the range, its deviation such that the share `confidence` of it lies within a tenth of the
scale on each side. Of a choice it is `prior` itself with the probability `confidence`, else any of the values alike.
Parameters are independent of each other; one without a prior is uniform. The density is half that belief and half
uniform, so that no region is ever ruled out: a wrong prior costs no more than a factor of two.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from functools import cache
from statistics import NormalDist
from typing import Any

from tuner.core import chance
from tuner.core.search.scale import from_unit, to_unit
from tuner.spec.space import Choice, Float, Int, Params, SomeDimension, made

NEAR = 0.1
"""The best value is near the prior if it lies within this share of the scale, on either side."""
NORMAL = NormalDist()
Space = Mapping[str, SomeDimension]


def has_prior(space: Space) -> bool:
    """Tell whether anything is believed."""
    return any(dimension.prior is not None for dimension in space.values())


def mode(space: Space) -> Params:
    """Collect what is believed to be best, of the parameters that have a prior."""
    return {name: dimension.prior for name, dimension in space.items() if dimension.prior is not None}


def sample(space: Space, seed: int, stream: str, *counter: int | str) -> Params:
    """Draw params from the belief; the same arguments give the same params."""
    return made(space, lambda name, dimension: _draw(dimension, chance.uniform(seed, stream, *counter, name)))


def log_density(space: Space, params: Mapping[str, Any]) -> float:
    """Tell how much more likely params are than by an even draw, as a natural logarithm; at least log 1/2.

    Params that are not there, since their condition does not hold, count as even.
    """
    believed = 1.0
    for name, value in params.items():
        if space[name].prior is not None:
            believed *= _ratio(space[name], value)
    return math.log(0.5 + 0.5 * believed)


def deviation(sureness: float) -> float:
    """Find the standard deviation of what is believed of a number, as a share of its scale."""
    return NEAR / NORMAL.inv_cdf((1 + sureness) / 2)


def _draw(dimension: SomeDimension, share: float) -> Any:
    """Find the value below which this share of the belief lies."""
    if isinstance(dimension, Choice):
        return dimension.values[_drawn_index(dimension, share)]
    if dimension.prior is None:
        return from_unit(dimension, share)
    middle, spread, below, inside = _shape(dimension)
    place = min(max(below + share * inside, sys.float_info.min), 1 - sys.float_info.epsilon)
    return from_unit(dimension, min(max(middle + spread * NORMAL.inv_cdf(place), 0.0), 1.0))


def _drawn_index(choice: Choice, share: float) -> int:
    sure = 0.0 if choice.prior is None else choice.sureness
    if share < sure:
        return choice.index(choice.prior)
    return min(int((share - sure) / (1 - sure) * len(choice.values)), len(choice.values) - 1)


def _ratio(dimension: SomeDimension, value: Any) -> float:
    """Tell how much more likely than by an even draw a value is."""
    if isinstance(dimension, Choice):
        is_prior = dimension.index(value) == dimension.index(dimension.prior)
        return 1 - dimension.sureness + (dimension.sureness * len(dimension.values) if is_prior else 0.0)
    middle, spread, _, inside = _shape(dimension)
    away = (to_unit(dimension, value) - middle) / spread
    return math.exp(-0.5 * away * away) / (math.sqrt(2 * math.pi) * spread * inside)


def _shape(dimension: Float | Int) -> tuple[float, float, float, float]:
    """Give the middle of the normal distribution, its deviation, and its shares below the range and inside it."""
    assert dimension.prior is not None
    middle = to_unit(dimension, dimension.prior)
    return middle, *_cut_off(middle, dimension.sureness)


@cache  # a model draws and weighs thousands of candidates
def _cut_off(middle: float, sureness: float) -> tuple[float, float, float]:
    spread = deviation(sureness)
    below = NORMAL.cdf(-middle / spread)
    return spread, below, NORMAL.cdf((1 - middle) / spread) - below
