"""What is tried before the search chooses by itself: start points, the best of earlier runs, the user's beliefs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from tuner.core.search import prior
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import AutoSearch, Cmaes, Gp, Random, Tpe

AUTO = 10
"""So many trials of `auto` count as drawn by chance; its model may begin earlier, and weighs the priors itself."""


@dataclass(frozen=True, slots=True)
class First:
    """Params to begin with, and where they come from."""

    params: dict[str, Any]
    """What they leave open is drawn by the search."""
    source: str
    """A phrase for people."""


def first(spec: Experiment, number: int) -> First | None:
    """Find what trial `number` is to try; None where the search chooses."""
    points = spec.start.points
    if number < len(points):
        return First(points[number], f"point {number + 1} of start.points")
    number -= len(points)
    earlier = spec.start.tried_first
    if number < len(earlier):
        return First(earlier[number].params, f"as {earlier[number].trial} of {earlier[number].run}, an earlier run")
    return _believed(spec, number - len(earlier))


def _believed(spec: Experiment, count: int) -> First | None:
    """Turn beliefs into trials: what is likeliest, then, while all is chance, every other one is drawn from them."""
    if not prior.has_prior(spec.space) or count >= _by_chance(spec):
        return None
    if count == 0:
        return First(prior.mode(spec.space), "the priors")
    if count % 2 == 0:
        return None
    return First(prior.sample(spec.space, spec.search_seed, "prior", count), "drawn from the priors")


def _by_chance(spec: Experiment) -> int:
    """Count the trials that are drawn by chance before the search has learned enough."""
    search = spec.search
    if isinstance(search, Random):
        return sys.maxsize
    if isinstance(search, AutoSearch):
        return AUTO
    return search.startup if isinstance(search, Tpe | Gp | Cmaes) else 0
