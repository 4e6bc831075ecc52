"""What services are told of a report, beside its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.core.records import Report
from tuner.core.state import RunState
from tuner.core.trial import TrialState


def values(report: Report, trial: TrialState, run: RunState) -> dict[str, float]:
    """Give what was reported, and the params that were numbers then where trials change them on the way."""
    if run.spec.scheduler.kind != "pbt":
        return report.metrics
    params = numbers(trial.params_of(report.generation))
    return {**report.metrics, **{f"params/{name}": value for name, value in params.items()}}


def numbers(params: Mapping[str, Any]) -> dict[str, float]:
    """Leave out params that are no numbers."""
    return {k: float(v) for k, v in params.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def best_value(trial: TrialState, run: RunState) -> float | None:
    """Find the trial's best finite value of the objective."""
    return None if trial.best is None else run.objective(trial.best)
