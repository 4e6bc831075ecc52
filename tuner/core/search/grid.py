"""Every point of a grid once, in an order that the seed fixes."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GridSampler

from tuner.core import chance
from tuner.spec.experiment import Experiment
from tuner.spec.space import Choice, grid_values


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler; it takes point n of the shuffled grid for trial n."""
    points = {
        name: list(range(len(dimension.values))) if isinstance(dimension, Choice) else grid_values(dimension)
        for name, dimension in spec.space.items()
    }
    return GridSampler(points, seed=chance.integer(spec.search_seed, "search"))
