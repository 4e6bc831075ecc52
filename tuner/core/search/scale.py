"""Numbers on a scale from 0 to 1, logarithmic where the space is."""

from __future__ import annotations

import math
from typing import Any

from tuner.spec.space import Choice, Float, Int, snap


def to_unit(dimension: Float | Int, value: float) -> float:
    """Find where a value lies between the ends of its range; a whole number or a step lies amid its own cell."""
    low, high = _ends(dimension)
    place = (_bent(dimension, value) - low) / (high - low)
    return min(max(place, 0.0), 1.0)


def from_unit(dimension: Float | Int, place: float) -> float | int:
    """Find the value at a place from 0 to 1, the nearest that the parameter can have."""
    low, high = _ends(dimension)
    value = low + place * (high - low)
    value = math.exp(value) if dimension.log else value
    return snap(dimension, value)


def draw(dimension: Float | Int | Choice, u: float) -> Any:
    """Map a uniform number in [0, 1) to a value of the dimension."""
    if isinstance(dimension, Choice):
        return dimension.values[int(u * len(dimension.values))]
    return from_unit(dimension, u)


def _ends(dimension: Float | Int) -> tuple[float, float]:
    half = (dimension.step or 0.0) / 2
    most = dimension.high
    if dimension.step is not None and not dimension.log:  # the last value that steps reach
        most = dimension.low + math.floor((dimension.high - dimension.low) / dimension.step + 1e-8) * dimension.step
    return _bent(dimension, dimension.low - half), _bent(dimension, most + half)


def _bent(dimension: Float | Int, value: float) -> float:
    return math.log(value) if dimension.log else value
