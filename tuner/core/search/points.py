"""The space as a cube: params become points that a model can measure distances between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tuner.core import chance
from tuner.core.search.joint import Array
from tuner.core.search.scale import draw, from_unit, to_unit
from tuner.spec.space import Choice, Params, SomeDimension, made, order

ABSENT = 0.5
"""Where a param lies that is not there, since its condition does not hold."""
WIDEST, NARROWEST = 0.3, 0.01
"""How far neighbours of a point lie, as a deviation on the scale from 0 to 1; drawn anew for each of them."""
MOVED = 0.5
"""The probability that a neighbour differs in a number."""
CHANGED = 0.2
"""The probability that a neighbour has another value of a choice."""


class Points:
    """The columns of the cube: one for a number, one for a choice of rising numbers, one a value for other choices."""

    def __init__(self, space: Mapping[str, SomeDimension]) -> None:
        self.space, self.names = space, order(space)
        widths = [_width(space[name]) for name in self.names]
        self._first = dict(zip(self.names, itertools.accumulate([0, *widths]), strict=False))
        self.group: NDArray[np.int64] = np.repeat(np.arange(len(widths)), widths)
        """For each column the place of its param: they share a length."""

    def of(self, params: Mapping[str, Any]) -> Array:
        """Find the point of some params; (columns,)."""
        point = np.full(len(self.group), ABSENT)
        for name in self.names:
            dimension, at = self.space[name], self._first[name]
            if isinstance(dimension, Choice):
                point[at : at + _width(dimension)] = _of_choice(dimension, params.get(name), name in params)
            elif name in params:
                point[at] = to_unit(dimension, params[name])
        return point

    def all_of(self, several: Iterable[Mapping[str, Any]]) -> Array:
        """Find the points of several; (n, columns)."""
        return np.array([self.of(params) for params in several]).reshape(-1, len(self.group))

    def draw(self, *key: int | str) -> Params:
        """Draw params evenly; the same key, a seed and a name to begin with, gives the same params."""
        return made(self.space, lambda name, dimension: draw(dimension, _uniform(key, name)))

    def fill(self, given: Mapping[str, Any], *key: int | str) -> Params:
        """Draw those params that are not given."""
        return made(
            self.space, lambda name, dimension: given[name] if name in given else draw(dimension, _uniform(key, name))
        )

    def near(self, params: Mapping[str, Any], *key: int | str) -> Params:
        """Draw a neighbour."""
        width = WIDEST * (NARROWEST / WIDEST) ** _uniform(key, "", 1)

        def moved(name: str, dimension: SomeDimension) -> Any:
            if name not in params:
                return draw(dimension, _uniform(key, name))
            if isinstance(dimension, Choice):
                changes = _uniform(key, name, 1) < CHANGED
                return draw(dimension, _uniform(key, name)) if changes else params[name]
            if _uniform(key, name, 1) >= MOVED:
                return params[name]
            place = to_unit(dimension, params[name]) + width * float(ndtri(max(_uniform(key, name), 1e-12)))
            return from_unit(dimension, abs(place) if place <= 1 else max(2 - place, 0.0))

        return made(self.space, moved)


def _uniform(key: tuple[int | str, ...], name: str, which: int = 0) -> float:
    seed, stream, *counter = key
    return chance.uniform(int(seed), str(stream), *counter, name, which)


def _width(dimension: SomeDimension) -> int:
    return len(dimension.values) if isinstance(dimension, Choice) and not _is_scale(dimension) else 1


def _is_scale(choice: Choice) -> bool:
    """Tell whether the values are numbers that rise: those in between are then between them in effect, too."""
    values = choice.values
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return len(values) == 1 or (numbers and all(a < b for a, b in itertools.pairwise(values)))


def _of_choice(choice: Choice, value: Any, is_there: bool) -> Array:
    if not _is_scale(choice):  # two values differ by the length of one
        here = choice.index(value) if is_there else -1
        return np.array([math.sqrt(0.5) * (i == here) for i in range(len(choice.values))])
    last = len(choice.values) - 1
    return np.array([choice.index(value) / last if is_there and last else ABSENT])
