"""What several objectives and constraints add to what is told of a run: the Pareto front, and what breaks a limit."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from tuner.core import pareto, standing
from tuner.core.records import Report
from tuner.core.state import RunState
from tuner.core.trial import Best, TrialState
from tuner.outputs.grid import Column, clean, cut, cut_front, grid, number, params_text

MOST = 20


def is_several(run: RunState) -> bool:
    """Tell whether there are several objectives."""
    return len(run.spec.objectives) > 1


def others(run: RunState) -> list[str]:
    """Name what the leaderboard shows beside the first objective: the other objectives, and what has a limit."""
    names = [*(objective.metric for objective in run.spec.objectives), *run.spec.constraints]
    return [name for name in dict.fromkeys(names) if name != run.spec.objective.metric]


def members(run: RunState) -> list[Best]:
    """List the front, the best of the first objective first."""
    return sorted(run.front, key=lambda best: -run.spec.objective.score(best.value))


def report_of(run: RunState, best: Best) -> Report:
    """Find the report of a member of the front; a clone may report an epoch again, with other values."""
    reports = [report for report in run.trials[best.trial].reports if report.epoch == best.epoch]
    return next(report for report in reports if standing.values(run.spec, report.metrics) == best.values)


def listed(run: RunState) -> dict[str, Report]:
    """Find the report by which each trial of the front is listed: the best in the first objective of those there."""
    return {best.trial: report_of(run, best) for best in reversed(members(run))}


def numbers(run: RunState, trials: list[TrialState]) -> dict[str, int]:
    """Number the front of each trial that breaks no constraint: 1 has a report on the front of all reports.

    The others are sorted by their best reports.
    """
    first = {best.trial for best in run.front}
    rest = [trial for trial in trials if trial.id not in first and trial.best is not None and not trial.violation]
    found = pareto.fronts([trial.standing[1:] for trial in rest])
    return {**dict.fromkeys(first, 1), **{trial.id: 2 + n for trial, n in zip(rest, found, strict=True)}}


def facts(run: RunState) -> list[dict[str, Any]]:
    """List the front as `summary.json` holds it."""
    names = ("trial", "epoch", "values", "params")
    return [{name: getattr(best, name) for name in names} for best in members(run)]


def lines(run: RunState, width: int) -> list[Text]:
    """Lay out the front; nothing where there is one objective."""
    if not is_several(run):
        return []
    found = members(run)
    metrics = [objective.metric for objective in run.spec.objectives]
    modes = ", ".join(f"{objective.mode} {objective.metric}" for objective in run.spec.objectives)
    count = f"{len(found)} report{'' if len(found) == 1 else 's'}"
    head = f"Pareto front, {modes}: {count}"
    columns = [Column("trial"), Column("epoch", right=True, drop=2)]
    columns += [Column(cut_front(metric, max(8, width // 6)), right=True) for metric in metrics]
    columns += [Column("params", drop=1, least=12)]
    cells = [
        ([best.trial, str(best.epoch), *(number(best.values[m]) for m in metrics), params_text(best.params)], "green")
        for best in found[:MOST]
    ]
    more = [Text(f"… and {len(found) - MOST} more", style="dim")] if len(found) > MOST else []
    return [Text(cut(clean(head), width)), *grid(columns, cells, width), *more]


def values_text(best: Best) -> str:
    """Tell the values of all objectives."""
    return ", ".join(f"{metric} {value:.6g}" for metric, value in best.values.items())


def why_chosen(run: RunState) -> str:
    """Say why one of the front is the one in `best/`."""
    if standing.weights_of(run.spec):
        return "the best of the front by the weights of the scheduler"
    return "the compromise, of the front the nearest to the best of each objective"


def nothing(run: RunState) -> str:
    """Say why there is no best."""
    trained = [trial for trial in run.trials.values() if trial.best is not None]
    if not trained:
        return "No trial reported a finite value."
    nearest = min(trained, key=lambda trial: trial.violation)
    assert nearest.best is not None
    broken = standing.broken(run.spec, nearest.best.metrics)
    return f"No trial keeps the constraints. The nearest is {nearest.id} at epoch {nearest.best.epoch}: {broken}."
