"""Points with several scores, each the higher the better: who dominates whom, and what lies between extremes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Point = Sequence[float]
AUGMENTED = 0.05
"""The weight of the sum beside the largest loss, as in ParEGO (Knowles 2006): where that is equal the rest decides."""


def dominates(one: Point, other: Point) -> bool:
    """Tell whether a point is nowhere worse than another, and better somewhere."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def fronts(points: Sequence[Point]) -> list[int]:
    """Number for each point the front it lies on: 0 is dominated by none, 1 by none but those of 0, and so on.

    By efficient non-dominated sorting (Zhang et al. 2015): in falling order a point is dominated by earlier ones alone.
    """
    found: list[list[Point]] = []
    number = [0] * len(points)
    for i in sorted(range(len(points)), key=lambda i: tuple(points[i]), reverse=True):
        point = points[i]
        for number[i], front in enumerate(found):
            if not any(dominates(other, point) for other in reversed(front)):
                front.append(point)
                break
        else:
            number[i] = len(found)
            found.append([point])
    return number


def crowding(points: Sequence[Point]) -> list[float]:
    """Find how far apart the neighbours of each point of a front lie (Deb et al. 2002); infinity for the extremes."""
    distance = [0.0] * len(points)
    for axis in zip(*points, strict=True):
        order = sorted(range(len(points)), key=axis.__getitem__)
        if (width := axis[order[-1]] - axis[order[0]]) == 0:
            continue
        distance[order[0]] = distance[order[-1]] = math.inf
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            distance[i] += (axis[after] - axis[before]) / width
    return distance


def losses(points: Sequence[Point], weights: Sequence[float]) -> list[float]:
    """Find the weighted loss of each point: 0 is the best of every score at once.

    Each score is scaled so that the best of these points has the loss 0 and their median 1: one that exploded does not
    flatten the others. Of these losses times their weights the largest counts, and a twentieth of their sum
    (augmented Tchebycheff, Knowles 2006), so that any trade-off between the scores can win, also in a hollow front.
    """
    scaled = [_scaled(axis) for axis in zip(*points, strict=True)]
    parts = [[weight * loss for weight, loss in zip(weights, row, strict=True)] for row in zip(*scaled, strict=True)]
    return [max(row) + AUGMENTED * math.fsum(row) for row in parts]


def _scaled(axis: Sequence[float]) -> list[float]:
    best = max(axis)
    width = best - statistics.median(axis) or best - min(axis) or 1.0
    return [(best - score) / width for score in axis]


def nearest(points: Sequence[Point]) -> int:
    """Find the point nearest to the ideal one, which has the best of every score (the compromise of Zeleny 1973).

    Each score is scaled to run from 0 to 1 over these points.
    """
    axes = list(zip(*points, strict=True))
    ideal, widths = [max(axis) for axis in axes], [max(axis) - min(axis) or 1.0 for axis in axes]
    away = [
        math.hypot(*((best - score) / width for best, score, width in zip(ideal, point, widths, strict=True)))
        for point in points
    ]
    return away.index(min(away))
