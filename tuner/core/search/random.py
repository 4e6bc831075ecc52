"""Independent random points."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler

from tuner.core import chance
from tuner.spec.experiment import Experiment


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`."""
    return RandomSampler(seed=chance.integer(spec.search_seed, "search", number))
