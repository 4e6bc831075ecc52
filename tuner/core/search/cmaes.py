"""CMA-ES (Hansen and Ostermeier 2001)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, CmaEsSampler

from tuner.core import chance
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Cmaes


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; the strategy's own state travels in the trials' attributes."""
    assert isinstance(spec.search, Cmaes)
    seed = chance.integer(spec.search_seed, "search", number)
    return CmaEsSampler(n_startup_trials=spec.search.startup, sigma0=spec.search.sigma, seed=seed)
