"""In which order the trials at a rung stand, where a value alone does not tell: constraints, several objectives."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.core import pareto
from tuner.core.standing import Metrics, scores, violation, weights_of
from tuner.spec.experiment import Experiment

Key = tuple[float, ...]
"""The smaller the better; equal where two are as good."""


def keys(spec: Experiment, reports: Sequence[Metrics]) -> list[Key]:
    """Find for each of several reports what it is ranked by among them.

    Those that break no constraint come first. With one objective they are ranked by it. With several by the weighted
    loss, if there are weights, else by their front, and on one front by their distance to their neighbours, the lonely
    first: the order in which NSGA-II selects (Deb et al. 2002), used for asynchronous halving by Schmucker et al.
    (2021). Those that break one follow, by how much they do.
    """
    over = [violation(spec, metrics) for metrics in reports]
    good = [i for i, much in enumerate(over) if not much]
    found: list[Key] = [(1.0, much) for much in over]
    for i, key in zip(good, _among(spec, [scores(spec, reports[i]) for i in good]), strict=True):
        found[i] = (0.0, *key)
    return found


def _among(spec: Experiment, points: Sequence[pareto.Point]) -> list[Key]:
    if len(spec.objectives) == 1:
        return [(-point[0],) for point in points]
    if (weights := weights_of(spec)) is not None:
        return [(loss,) for loss in pareto.losses(points, weights)]
    found, numbers = [(0.0, 0.0)] * len(points), pareto.fronts(points)
    for number in set(numbers):
        members = [i for i, one in enumerate(numbers) if one == number]
        for i, apart in zip(members, pareto.crowding([points[i] for i in members]), strict=True):
            found[i] = (number, -apart)
    return list(found)


def is_plain(spec: Experiment) -> bool:
    """Tell whether the value of the objective alone decides."""
    return len(spec.objectives) == 1 and not spec.constraints


def how(spec: Experiment) -> str:
    """Say by what trials are ranked, but for constraints."""
    metrics = ", ".join(objective.metric for objective in spec.objectives)
    if len(spec.objectives) == 1:
        return metrics
    return f"{'the weighted loss' if weights_of(spec) else 'non-domination'} of {metrics}"
