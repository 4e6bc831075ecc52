"""CMA-ES (Hansen and Ostermeier 2001)."""

from __future__ import annotations

import io
import pickle
import warnings
from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import FrozenTrial

from tuner.core import chance
from tuner.core.search import prior
from tuner.core.search.scale import from_unit
from tuner.errors import UserError
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Cmaes
from tuner.spec.space import Choice, Params

# Optuna 6 will drop both; what it gives instead needs trials of a finished study.
warnings.filterwarnings("ignore", message=".(x0|sigma0). has been deprecated", category=FutureWarning)

PARTS = {
    ("cmaes._cma", "CMA"), ("cmaes._cmawm", "CMAwM"), ("cmaes._sepcma", "SepCMA"), ("numpy", "dtype"),
    ("numpy", "ndarray"), ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
}  # fmt: skip
"""What a strategy is made of."""


class _State(pickle.Unpickler):
    """Reads a strategy and nothing else: a pickle may name any function to be called, and a ledger be a stranger's."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PARTS:
            raise UserError(
                f"ledger: the state of cmaes must hold numbers alone, but names {module}.{name}. "
                "It was not written by a run: trust no file beside it."
            )
        return super().find_class(module, name)


class _Guarded(CmaEsSampler):
    """Optuna's own, but for how it reads its state."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            kept = {k: v for k, v in trial.system_attrs.items() if k.startswith(self._attr_key_optimizer)}
            if kept:
                return _State(io.BytesIO(bytes.fromhex(self._concat_optimizer_attrs(kept)))).load()
        return None


def sampler(spec: Experiment, number: int) -> BaseSampler:
    """Make the sampler of trial `number`; the strategy's own state travels in the trials' attributes."""
    assert isinstance(spec.search, Cmaes)
    seed = chance.integer(spec.search_seed, "search", number)
    return _Guarded(
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
