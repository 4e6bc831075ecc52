"""How reports stand to each other: by the constraints first, then by the objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tuner.core import pareto
from tuner.core.records import Outcome, Report
from tuner.core.trial import Best, TrialState
from tuner.spec.experiment import Experiment
from tuner.spec.kinds import Asha, Hyperband, Pbt

if TYPE_CHECKING:
    from tuner.core.state import RunState

Metrics = Mapping[str, float]
Standing = tuple[float, ...]
"""Minus the violation of the constraints, then the score of each objective: the higher the better."""


def violation(spec: Experiment, metrics: Metrics) -> float:
    """Add up by how much metrics break the constraints, each as a part of its bound; 0 where all hold."""
    return sum(limit.violation(metrics[limit.metric]) for limit in spec.limits)


def excesses(spec: Experiment, metrics: Metrics) -> dict[str, float]:
    """Find for each constraint, by its text, how far metrics are past it, as a part of its bound; never infinite."""
    return {str(limit): limit.excess(metrics[limit.metric]) for limit in spec.limits}


def scores(spec: Experiment, metrics: Metrics) -> tuple[float, ...]:
    """Read the score of each objective: higher is better."""
    return tuple(objective.score(metrics[objective.metric]) for objective in spec.objectives)


def standing(spec: Experiment, metrics: Metrics) -> Standing:
    """Find what a report is ranked by: what breaks no constraint is ahead, then the first objective counts."""
    return -violation(spec, metrics), *scores(spec, metrics)


def values(spec: Experiment, metrics: Metrics) -> dict[str, float]:
    """Pick the values of all objectives."""
    return {objective.metric: metrics[objective.metric] for objective in spec.objectives}


def not_finite(spec: Experiment, metrics: Metrics) -> str:
    """Name the first objective that is not finite, and its value; empty where all are."""
    bad = [(name, value) for name, value in values(spec, metrics).items() if not math.isfinite(value)]
    return f"{bad[0][0]} is {bad[0][1]}" if bad else ""


def broken(spec: Experiment, metrics: Metrics) -> str:
    """Name the constraints that metrics break; empty where all hold."""
    found = [(metrics[limit.metric], limit) for limit in spec.limits if limit.violation(metrics[limit.metric])]
    return ", ".join(f"{limit.metric} {value:.6g} breaks {limit}" for value, limit in found)


def may_be_best(spec: Experiment, metrics: Metrics) -> bool:
    """Tell whether metrics may be the best of a run: all objectives are finite, and no constraint is broken."""
    return not not_finite(spec, metrics) and not violation(spec, metrics)


def ending(spec: Experiment, trial: TrialState, metrics: Metrics) -> tuple[Outcome, str]:
    """Find how a trial ends that has come to its end with these metrics, and what is to be said of it.

    It is infeasible where none of its reports keeps the constraints.
    """
    if not (what := broken(spec, metrics)):
        return "finished", ""
    if trial.best is not None and not trial.violation:
        return "finished", f"; {what}, epoch {trial.best.epoch} breaks none"
    return "infeasible", f"; {what}"


def keep_best(run: RunState, trial: TrialState, report: Report) -> None:
    """Take in a report: it may be the best of its trial or of the run, or belong to the front."""
    spec, metrics = run.spec, report.metrics
    if not_finite(spec, metrics):
        return
    trial.keep_best(report, run.standing)
    if trial.of or not may_be_best(spec, metrics):
        return
    several = values(spec, metrics) if len(spec.objectives) > 1 else {}
    value = run.objective(report)
    here = Best(report.trial, report.epoch, value, trial.params, report.checkpoint, several)
    run.best = _better(spec, run.best, here)
    run.best_saved = _better(spec, run.best_saved, here) if here.checkpoint else run.best_saved
    if several:
        run.front = _joined(spec, run.front, here)
        run.front_saved = _joined(spec, run.front_saved, here) if here.checkpoint else run.front_saved


def _better(spec: Experiment, old: Best | None, new: Best) -> Best:
    """Take the new one where it is ahead; with several objectives the others tell apart what is equal in the first."""
    if old is None or _scores(spec, new) > _scores(spec, old):
        return new
    return old


def _scores(spec: Experiment, best: Best) -> tuple[float, ...]:
    return scores(spec, best.values or {spec.objective.metric: best.value})


def _joined(spec: Experiment, front: list[Best], new: Best) -> list[Best]:
    """Add a report to a front, unless one of it is as good or dominates it."""
    mine = _scores(spec, new)
    theirs = [(old, _scores(spec, old)) for old in front]
    if any(point == mine or pareto.dominates(point, mine) for _, point in theirs):
        return front
    return [*(old for old, point in theirs if not pareto.dominates(mine, point)), new]


def chosen(run: RunState) -> Best | None:
    """Find the member of the front that is the run's result: the best by the weights of the scheduler.

    Where it has none it is the compromise, the nearest to the best of each objective.
    """
    if not (front := run.front_saved or run.front):
        return None
    points = [_scores(run.spec, best) for best in front]
    if (weights := weights_of(run.spec)) is None:
        return front[pareto.nearest(points)]
    losses = pareto.losses(points, weights)
    return front[losses.index(min(losses))]


def weights_of(spec: Experiment) -> list[float] | None:
    """List the weights that the scheduler gives the objectives; None where it gives none."""
    by = spec.scheduler.by if isinstance(spec.scheduler, Asha | Hyperband | Pbt) else None
    return [by[objective.metric] for objective in spec.objectives] if isinstance(by, dict) else None
