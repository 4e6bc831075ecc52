"""What a resume may change of a run: a larger budget and settings that decide nothing; and what must stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuner.errors import Problem, UserError
from tuner.spec.experiment import Asha, Experiment, Hyperband
from tuner.spec.kinds import SomeScheduler
from tuner.spec.words import shown

ANEW = "What was found so far rests on it: start a new run for that."
SETTINGS = ("resources", "checkpoint", "watchdog")
"""Sections that say how trials are run, not what they find."""
MORE = ("budget", "confirm", "search")
"""Sections of which a run that is over can get more; of `search` its epochs alone."""
REOPENS = {"hours": ("budget",), "asked": ("budget",), "target": ("budget", "confirm")}
"""Which of them let a run go on that was closed, by what closed it."""
FREE = ("loggers",)
"""Keys that hold for one driver, and that the ledger need not know: each makes anew whoever looks on."""
Changes = Mapping[str, Mapping[str, Any]]
"""The parts that are new, by section of the spec."""


def changes(
    old: Experiment, new: Experiment, hours: float = 0.0, begun: int = 0, is_over: bool = False, closed: str = ""
) -> Changes:
    """Find the parts that are new; raises UserError for a smaller budget, and for all that must stay.

    `hours` is how long the run has run, `begun` how many trials it has; one that `is_over` goes on with a larger
    budget, or with more to confirm, but with the budget alone if it was `closed` by its hours or by hand, and not with
    more epochs of all if by its target, or if all trials are begun.
    Other `loggers` change nothing of the run: they are the driver's own.
    """
    found = {key: part for key in (*MORE, *SETTINGS) if (part := _parts(old, new, key))}
    changes_nothing = not found and any(getattr(old, key) != getattr(new, key) for key in FREE)
    problems = [
        *_listed(old, new),
        *_fixed(old, new),
        *_smaller(old, new),
        *_less(old, new),
        *_epochs_in_all(old, new),
        *(() if changes_nothing else _out_of_time(new, hours)),
    ]
    has_more = any(key in found for key in REOPENS.get(closed, MORE))
    if is_over and not problems and not has_more and not changes_nothing:
        what = "must have a larger budget beside other settings where the run is over, but got none"
        problems = [Problem("--set", "", what, "Add --set budget.trials=…, say.")]
    if is_over and not problems and found.keys() <= {"search", *SETTINGS} and "search" in found and begun >= new.trials:
        what = f"must grow with the budget where all {begun} trials are begun and have ended, but got it alone"
        problems = [Problem("--set", "search.epochs", what, "Add --set budget.trials=…, say.")]
    if problems:
        raise UserError(*problems)
    return found


def _parts(old: Experiment, new: Experiment, key: str) -> dict[str, Any]:
    if key == "resources" and _has_list(old, new):
        return {}
    before, after = _values(old, key), _values(new, key)
    if key == "search":
        after = {name: value for name, value in after.items() if name == "epochs" and old.search.kind == "auto"}
    return {name: value for name, value in after.items() if value != before.get(name)}


def _values(spec: Experiment, key: str) -> dict[str, Any]:
    """Give what a section holds; nothing where there is none."""
    return dict(part.model_dump()) if (part := getattr(spec, key)) is not None else {}


def _has_list(old: Experiment, new: Experiment) -> bool:
    return isinstance(old.resources, list) or isinstance(new.resources, list)


def _fixed(old: Experiment, new: Experiment) -> Iterator[Problem]:
    for key in type(old).model_fields:
        if key == "search" and {**_values(old, key), "epochs": 0} == {**_values(new, key), "epochs": 0}:
            continue
        if key not in ("budget", "confirm", *SETTINGS, *FREE) and getattr(old, key) != getattr(new, key):
            yield Problem("--set", key, "must stay as it was when the run began, but is changed", ANEW)


def _listed(old: Experiment, new: Experiment) -> Iterator[Problem]:
    if old.resources != new.resources and _has_list(old, new):
        yield Problem("--set", "resources", "must stay as it was where it is a list, but is changed", ANEW)


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


def _epochs_in_all(old: Experiment, new: Experiment) -> Iterator[Problem]:
    """Refuse a larger budget of which nothing could be used: all its epochs are trained."""
    before, after = old.total_epochs or 0, new.total_epochs or 0
    grows = new.budget.trials > old.budget.trials or new.budget.epochs > old.budget.epochs
    if after < before or (grows and after == before and _values(old, "search").get("epochs")):
        what = f"above {before}, as the budget is" if grows else f"at least {before}, as before"
        yield Problem("--set", "search.epochs", f"must be {what}, but got {after}",
                      f"Add --set search.epochs={min(2 * before, new.trials * new.budget.epochs)}, say.")  # fmt: skip


def _less(old: Experiment, new: Experiment) -> Iterator[Problem]:
    """Refuse to confirm less than before: what is known is kept."""
    for key, before in _values(old, "confirm").items():
        after = _values(new, "confirm").get(key, 0)
        if after < before:
            what = f"must be at least {before}, as before, but got {after}"
            yield Problem("--set", f"confirm.{key}", what, "Stop the run by --stop to end it earlier.")


def _out_of_time(new: Experiment, hours: float) -> Iterator[Problem]:
    """Refuse what would end again at once."""
    if new.budget.hours is not None and new.budget.hours <= hours:
        what = f"more than the {hours:.3g} that the run has used"
        yield _problem("hours", what, new.budget.hours, "Give --set budget.hours=… too, or =null for no limit.")


def _problem(key: str, what: str, got: Any, fix: str) -> Problem:
    return Problem("--set", f"budget.{key}", f"must be {what}, but got {shown(got)}", fix)


def told(old: Experiment, new: Changes, horizon: int) -> Sequence[str]:
    """Say what the changes mean; `horizon` is the last epoch of the first budget."""
    lines = []
    for section, part in new.items():
        verb, before = "grows" if section in MORE else "changes", _values(old, section)
        for key, value in part.items():
            change = f"{verb} from {shown(before[key])} to" if key in before else "is"
            lines.append(f"{section}.{key} {change} {shown(value)}")
    if "epochs" in new.get("budget", {}):
        share = _who_goes_on(old.scheduler)
        lines.append(f"of those finished at epoch {old.budget.epochs}, {share} go on from their last checkpoints")
        end = f"from epoch {horizon + 1} on a rate stays where its schedule ends, and one of 0 learns nothing"
        lines.append(f"schedules keep their horizon: trial.total_epochs stays {horizon}; {end}")
    return lines


def _who_goes_on(scheduler: SomeScheduler) -> str:
    if isinstance(scheduler, Asha | Hyperband):
        return f"the best 1/{scheduler.reduction_factor:g}"
    return "those that the model chooses" if scheduler.kind == "auto" else "all"
