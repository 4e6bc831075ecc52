"""CMA-ES (Hansen and Ostermeier 2001)."""

from __future__ import annotations

import warnings

from optuna.samplers import BaseSampler, CmaEsSampler

from tuner.core import chance
from tuner.core.search import prior
from tuner.core.search.scale import from_unit
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Cmaes
from tuner.spec.space import Choice, Params

# Optuna 6 will drop both; what it gives instead needs trials of a finished study.
warnings.filterwarnings("ignore", message=".(x0|sigma0). has been deprecated", category=FutureWarning)


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; the strategy's own state travels in the trials' attributes."""
    assert isinstance(spec.search, Cmaes)
    seed = chance.integer(spec.search_seed, "search", number)
    return CmaEsSampler(
        x0=_middle(spec), n_startup_trials=spec.search.startup, sigma0=spec.search.sigma, seed=seed
    )  # fmt: skip


def _middle(spec: Experiment) -> Params | None:
    """Find where the strategy starts: an earlier run's best, or what is believed; None for the middle of the space."""
    if spec.start.tried_first:
        return spec.start.tried_first[0].params
    if not prior.has_prior(spec.space):
        return None
    middle = {name: from_unit(part, 0.5) for name, part in spec.space.items() if not isinstance(part, Choice)}
    return {**middle, **prior.mode(spec.space)}
