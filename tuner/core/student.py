"""Student's t for whole degrees of freedom, in closed form (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

LARGEST = 1e100
"""A larger t is no different, and its square would be no number."""


def mean(values: Sequence[float]) -> float:
    """Find the mean, whatever the order of the values; they must be finite."""
    largest = max(map(abs, values))
    return largest * (math.fsum(value / largest for value in values) / len(values)) if largest else 0.0


def error_of_mean(values: Sequence[float]) -> float:
    """Find the standard error of the mean of two values or more, from the spread of the values."""
    middle = mean(values)
    apart = [value - middle for value in values]
    largest = max(map(abs, apart))
    if not 0 < largest < math.inf:
        return largest
    squares = math.fsum((one / largest) ** 2 for one in apart)
    return largest * math.sqrt(squares / (len(values) - 1) / len(values))


def upper_tail(t: float, freedom: int) -> float:
    """Find the probability that Student's t with so many degrees of freedom is above `t`."""
    size, odd = min(abs(t), LARGEST), freedom % 2
    away = math.sqrt(freedom + size * size)
    cosine, sine = math.sqrt(freedom) / away, size / away
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine * cosine * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    inside = 2 / math.pi * (math.atan(size / math.sqrt(freedom)) + sine * total) if odd else sine * total
    tail = (1 - inside) / 2
    return tail if t >= 0 else 1 - tail


def quantile(tail: float, freedom: int) -> float:
    """Find the t above which Student's t is with probability `tail`, which lies between 0 and one half."""
    low, high = 0.0, 1.0
    while upper_tail(high, freedom) > tail:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, freedom) > tail else (low, middle)
    return (low + high) / 2
