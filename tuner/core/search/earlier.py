"""Trials of earlier runs as trials of Optuna's, which its samplers learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.spec.experiment import Experiment, Learned
from tuner.spec.space import Choice, Float, Int, indices


def frozen(spec: Experiment) -> Iterator[FrozenTrial]:
    """Make a finished trial of each whose values are comparable.

    One that trained for less than this run's last epoch is pruned: the samplers rank it behind those that did not.
    """
    for trial in spec.start.learned:
        if trial.comparable:
            yield _frozen(spec, trial)


def _frozen(spec: Experiment, trial: Learned) -> FrozenTrial:
    is_whole = bool(trial.epochs) and trial.epochs[-1] >= spec.budget.epochs and not trial.diverged
    return create_trial(
        state=TrialState.COMPLETE if is_whole else TrialState.PRUNED,
        value=max(trial.values, key=spec.objective.score) if is_whole else None,
        params=indexed(spec, trial.params),
        distributions={name: distribution(spec.space[name]) for name in trial.params},
        intermediate_values={} if trial.diverged else dict(zip(trial.epochs, trial.values, strict=True)),
    )


def indexed(spec: Experiment, params: dict[str, Any]) -> dict[str, Any]:
    """Put the index in the place of each choice's value."""
    return {**params, **indices(spec.space, params)}


def distribution(dimension: Float | Int | Choice, labels: Sequence[Any] = ()) -> BaseDistribution:
    """Translate a dimension; a choice becomes its index, since its values may be lists, unless they get `labels`."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(labels or range(len(dimension.values)))
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
