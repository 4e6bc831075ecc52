"""How much memory a trial will need before it has run: a formula that is fitted to those that did.

The logarithm of the memory is taken for a sum over the logarithms of the params, each with a slope that is not
negative (Lawson and Hanson 1974, chapter 23; here by coordinate descent, in plain Python so that no library's upgrade
changes a decision). The larger a measured trial was, the more it counts: it is the edge that matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 8
"""Fewer measured trials tell nothing."""
ROUNDS = 300


@dataclass(frozen=True, slots=True)
class Point:
    """A measured trial: its params that are numbers, and the bytes that it took."""

    numbers: tuple[float, ...]
    memory: int


def foresee(points: Sequence[Point], numbers: Sequence[float]) -> float | None:
    """Tell the bytes that a trial will need at least, by one standard deviation; None where too little is known."""
    if len(points) < max(FEWEST, len(numbers) + 4):
        return None
    logs = [all(values[i] > 0 for values in (numbers, *(p.numbers for p in points))) for i in range(len(numbers))]
    rows = [[*_scaled(point.numbers, logs), 1.0] for point in points]
    heights = [math.log(max(1, point.memory)) for point in points]
    top = max(heights)
    weights = [math.exp(height - top) for height in heights]
    slopes = _fit(rows, heights, weights)
    errors = [(_dot(row, slopes) - height) ** 2 for row, height in zip(rows, heights, strict=True)]
    spread = math.sqrt(_dot(weights, errors) / sum(weights))
    return math.exp(min(_dot([*_scaled(numbers, logs), 1.0], slopes) - spread, 700.0))


def _scaled(numbers: Sequence[float], logs: Sequence[bool]) -> list[float]:
    return [math.log(value) if log else float(value) for value, log in zip(numbers, logs, strict=True)]


def _fit(rows: Sequence[Sequence[float]], heights: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Find the slopes of least squares, none negative but the last, which is the height at the origin."""
    columns = list(zip(*rows, strict=True))[:-1]
    total, size = sum(weights), range(len(columns))
    # Around the weighted middle: else the slopes and the height would creep along each other.
    middle = [_dot(weights, column) / total for column in columns]
    level = _dot(weights, heights) / total
    moved = [[value - middle[i] for value in columns[i]] for i in size]
    weighted = [[w * value for w, value in zip(weights, column, strict=True)] for column in moved]
    gram = [[_dot(weighted[i], moved[j]) for j in size] for i in size]
    aim = [_dot(weighted[i], [height - level for height in heights]) for i in size]
    slopes = [0.0] * len(columns)
    for _ in range(ROUNDS):
        for i in size:
            if gram[i][i] > 1e-12:
                slopes[i] = max(0.0, slopes[i] + (aim[i] - _dot(gram[i], slopes)) / gram[i][i])
    return [*slopes, level - _dot(middle, slopes)]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
