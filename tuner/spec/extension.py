"""A larger budget for a run that is there: what may change, and what must stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuner.errors import Problem, UserError
from tuner.spec.experiment import Asha, Experiment, Hyperband
from tuner.spec.words import shown

ANEW = "What was found so far rests on it: start a new run for that."


def larger_budget(old: Experiment, new: Experiment) -> dict[str, Any]:
    """Find the parts of the budget that are new; raises UserError for less than before, and for all other changes."""
    if problems := [*_changed(old, new), *_smaller(old, new)]:
        raise UserError(*problems)
    before, after = old.budget.model_dump(), new.budget.model_dump()
    return {key: value for key, value in after.items() if value != before[key]}


def _changed(old: Experiment, new: Experiment) -> Iterator[Problem]:
    for key in type(old).model_fields:
        if key != "budget" and getattr(old, key) != getattr(new, key):
            yield Problem("--set", key, "must stay as it was when the run began, but is changed", ANEW)


def _smaller(old: Experiment, new: Experiment) -> Iterator[Problem]:
    for key in ("trials", "epochs"):
        before, after = getattr(old.budget, key), getattr(new.budget, key)
        if after < before:
            yield _problem(key, f"at least {before}, as before", after, "Stop the run by --stop to end it earlier.")
    if old.scheduler.kind == "pbt" and new.budget.trials > old.budget.trials:
        what = f"{old.budget.trials} where scheduler.kind is pbt, whose population it is"
        yield _problem("trials", what, new.budget.trials, "Give it more epochs instead.")
    before, after = old.budget.hours, new.budget.hours
    if after is not None and (before is None or after < before):
        what = "without a limit, as before" if before is None else f"at least {before:g}, as before"
        yield _problem("hours", what, after, "Stop the run by --stop to end it earlier.")
    before, after = old.budget.target, new.budget.target
    if after is not None and (before is None or old.objective.score(after) < old.objective.score(before)):
        what = "without a target, as before" if before is None else f"no easier than {before:g}, as before"
        yield _problem("target", what, after, "Stop the run by --stop to end it earlier.")


def _problem(key: str, what: str, got: Any, fix: str) -> Problem:
    return Problem("--set", f"budget.{key}", f"must be {what}, but got {shown(got)}", fix)


def told(old: Experiment, budget: Mapping[str, Any], horizon: int) -> Sequence[str]:
    """Say what a larger budget means; `horizon` is the last epoch of the first one."""
    before = old.budget.model_dump()
    lines = [f"budget.{key} grows from {shown(before[key])} to {shown(value)}" for key, value in budget.items()]
    if "epochs" in budget:
        scheduler = old.scheduler
        share = f"the best 1/{scheduler.reduction_factor:g}" if isinstance(scheduler, Asha | Hyperband) else "all"
        lines.append(f"of those finished at epoch {old.budget.epochs}, {share} go on from their last checkpoints")
        lines.append(f"schedules keep their horizon: trial.total_epochs stays {horizon}")
    return lines
