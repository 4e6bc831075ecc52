"""Tree-structured Parzen estimator (Bergstra et al. 2011; multivariate: Falkner et al. 2018)."""

from __future__ import annotations

from optuna.samplers import BaseSampler, TPESampler

from tuner.core import chance
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Tpe


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; running trials count as bad (constant liar)."""
    assert isinstance(spec.search, Tpe)
    return TPESampler(
        n_startup_trials=spec.search.startup,
        multivariate=True,
        group=any(dimension.when for dimension in spec.space.values()),
        constant_liar=True,
        seed=chance.integer(spec.search_seed, "search", number),
    )
