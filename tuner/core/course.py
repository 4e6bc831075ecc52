"""How a search went, or would have gone, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from tuner.core import standing
from tuner.core.records import Promoted, Record, Report
from tuner.core.state import RunState
from tuner.core.trial import TrialState

Place = tuple[int, int]
"""Where a trial was judged: (bracket, epoch)."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a search went, or would have gone."""

    value: float | None
    """The best value that is recorded and breaks no constraint, of the first objective; None where there is none."""
    trial: str
    """Whose it is; empty where there is none."""
    epoch: int
    rank: int
    """That trial's place among all of the run, by their best values; 0 where there is none."""
    epochs: int
    """Those of all trials together."""
    trainings: float
    """The same in trainings to the last epoch."""
    seconds: float
    """Until the last trial ended."""
    begun: int
    """How many trials."""
    to_the_end: int
    """How many of them came to the last epoch."""
    stopped: int
    """How many the scheduler stopped."""
    decisions: int
    """How often the scheduler judged a trial, or let a paused one go on."""
    carried_trials: int = 0
    """How many trials went on for longer than they are recorded."""
    carried_epochs: int = 0
    """For how many epochs, all together."""
    uncertain: int = 0
    """How many decisions were taken on a value that is not recorded, or held a value against one."""


def course(
    run: RunState,
    records: Sequence[Record],
    seconds: float,
    rank: Callable[[TrialState], int],
    recorded: Callable[[TrialState], TrialState] = lambda trial: trial,
    carried: Set[tuple[str, int]] = frozenset(),
) -> Course:
    """Sum up a search: the run's own, or a replay, with the trials that are `recorded` for its own.

    `rank` tells the place of a recorded trial; `carried` are the trials and epochs that are not recorded.
    """
    reports = [record for record in records if isinstance(record, Report) and record.trial in run.trials]
    valid = [one for one in reports if standing.may_be_best(run.spec, one.metrics)]
    known = [one for one in valid if (one.trial, one.epoch) not in carried]
    best = max(known, key=run.standing, default=None)
    found = None if best is None else recorded(run.trials[best.trial])
    trials, last = list(run.trials.values()), run.spec.budget.epochs
    gone_on = [trial for trial in trials if (trial.id, trial.epoch) in carried]
    decisions, uncertain = _judged(run, records, carried)
    return Course(
        value=None if best is None else run.objective(best),
        trial="" if found is None else found.id,
        epoch=0 if best is None else best.epoch,
        rank=0 if found is None else rank(found),
        epochs=sum(trial.epoch for trial in trials),
        trainings=sum(trial.epoch for trial in trials) / last,
        seconds=seconds,
        begun=len(trials),
        to_the_end=sum(trial.epoch >= last for trial in trials),
        stopped=sum(trial.outcome == "stopped" and not trial.before for trial in trials),
        decisions=decisions,
        carried_trials=len(gone_on),
        carried_epochs=sum(trial.epoch - recorded(trial).epoch for trial in gone_on),
        uncertain=uncertain,
    )


def _judged(run: RunState, records: Sequence[Record], carried: Set[tuple[str, int]]) -> tuple[int, int]:
    """Count the decisions, and those that hang on what is not recorded: on the trial's own value, or another's."""
    places, unsure, decisions, uncertain = dict[str, Place](), set[Place](), 0, 0
    for record in records:
        if isinstance(record, Report) and record.trial in run.trials and (mark := record.decision.mark) is not None:
            places[record.trial] = (mark.bracket, mark.epoch)
            if (record.trial, record.epoch) in carried:
                unsure.add(places[record.trial])
        elif not (isinstance(record, Promoted) and record.trial in run.trials):
            continue
        decisions += 1
        uncertain += places.get(record.trial) in unsure
    return decisions, uncertain
