"""How much memory a trial will need before it has run: a formula that is fitted to those that did.

Memory is taken for a sum of products of the params, none with a negative coefficient: weights grow with the width
squared, what a layer keeps for the backward pass with width times batch. So it never falls as a param grows. The
coefficients are those of non-negative least squares (Lawson and Hanson 1974, chapter 23), here by coordinate descent in
plain Python, so that no library's upgrade changes a decision. Errors count by their part of the memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

FEWEST, MOST = 5, 100
"""Fewer measured trials tell nothing; of more the largest count, for it is the edge that matters."""
ROUNDS = 200
FEW = 5
"""Of more params only products of two are looked at."""


@dataclass(frozen=True, slots=True)
class Point:
    """A measured trial: its params that are numbers, and the bytes that it took."""

    numbers: tuple[float, ...]
    memory: int


@dataclass(frozen=True, slots=True)
class Formula:
    """Memory as a function of params."""

    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    terms: tuple[tuple[int, ...], ...]
    """Which params are multiplied."""
    coefficients: tuple[float, ...]
    spread: float
    """How far off it is, as a part of the memory: the root of the mean square."""

    def least(self, numbers: Sequence[float]) -> float:
        """Tell the bytes that a trial with these params will need at least, by one standard deviation."""
        return self.middle(numbers) / (1 + self.spread)

    def most(self, numbers: Sequence[float]) -> float:
        """Tell the bytes that it will need at most, by one standard deviation."""
        return self.middle(numbers) * (1 + self.spread)

    def middle(self, numbers: Sequence[float]) -> float:
        """Tell the bytes that it will need as a rule."""
        return _dot(self.coefficients, _products(_scaled(numbers, self.lowest, self.highest), self.terms))


def formula(points: Sequence[Point], count: int) -> Formula | None:
    """Fit a formula of so many params; None where too little is known."""
    if len(points) < max(FEWEST, count + 1):
        return None
    return _fit(tuple(sorted(points, key=lambda point: (-point.memory, point.numbers))[:MOST]))


@functools.lru_cache(maxsize=16)  # a trial that waits for its turn is looked at again and again
def _fit(points: tuple[Point, ...]) -> Formula:
    columns = list(zip(*(point.numbers for point in points), strict=True))
    lowest = tuple(min(0.0, *column) for column in columns)
    highest = tuple(max(column) for column in columns)
    terms = tuple(
        term
        for degree in range(4 if len(columns) <= FEW else 3)
        for term in combinations_with_replacement(range(len(columns)), degree)
    )
    top = max(point.memory for point in points)
    heights = [max(1, point.memory) / top for point in points]
    rows = [_products(_scaled(point.numbers, lowest, highest), terms) for point in points]
    coefficients = _non_negative_least_squares(rows, heights, [1 / height for height in heights])
    errors = [(_dot(row, coefficients) / height - 1) ** 2 for row, height in zip(rows, heights, strict=True)]
    spread = math.sqrt(_dot(heights, errors) / sum(heights))
    return Formula(lowest, highest, terms, tuple(top * one for one in coefficients), spread)


def _scaled(numbers: Sequence[float], lowest: Sequence[float], highest: Sequence[float]) -> list[float]:
    """Bring params to about 0 to 1, none below 0."""
    bounds = zip(numbers, lowest, highest, strict=True)
    return [max(0.0, value - low) / ((high - low) or 1.0) for value, low, high in bounds]


def _products(numbers: Sequence[float], terms: Sequence[Sequence[int]]) -> list[float]:
    return [math.prod(numbers[i] for i in term) for term in terms]


def _non_negative_least_squares(
    rows: Sequence[Sequence[float]], heights: Sequence[float], weights: Sequence[float]
) -> list[float]:
    columns = list(zip(*rows, strict=True))
    weighted = [[w * value for w, value in zip(weights, column, strict=True)] for column in columns]
    gram = [[_dot(one, other) for other in columns] for one in weighted]
    aim = [_dot(one, heights) for one in weighted]
    found = [0.0] * len(columns)
    for _ in range(ROUNDS):
        for i, line in enumerate(gram):
            if line[i] > 1e-12:
                found[i] = max(0.0, found[i] + (aim[i] - _dot(line, found)) / line[i])
    return found


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
