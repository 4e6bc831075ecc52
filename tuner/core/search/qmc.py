"""Quasi-random points (Sobol 1967, Halton 1964), scrambled by the seed."""

from __future__ import annotations

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tuner.core import chance
from tuner.core.search.earlier import distribution
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Qmc


class _Indexed(QMCSampler):
    """Takes point n of the sequence for trial n. Optuna counts in the study instead, which a rebuilt one lacks."""

    def __init__(self, spec: Experiment, search: Qmc, number: int) -> None:
        self.number = number
        self.space = {name: distribution(dimension) for name, dimension in spec.space.items()}
        seed = chance.integer(spec.search_seed, "search")
        super().__init__(qmc_type=search.sequence, scramble=True, seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self.number


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`."""
    assert isinstance(spec.search, Qmc)
    return _Indexed(spec, spec.search, number)
