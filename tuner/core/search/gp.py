"""Gaussian process with log expected improvement (Ament et al. 2023)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, GPSampler

from tuner.core import chance
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Gp


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; it learns from trials that ran to their end."""
    assert isinstance(spec.search, Gp)
    seed = chance.integer(spec.search_seed, "search", number)
    return GPSampler(n_startup_trials=spec.search.startup, deterministic_objective=False, seed=seed)
