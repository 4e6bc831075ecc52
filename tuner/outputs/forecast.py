"""How long a run will still take, from the pace of this session."""

from __future__ import annotations

import time

from tuner.core import epochs
from tuner.core.confirm import repeats_left
from tuner.core.records import Report
from tuner.core.state import RunState

SECONDS_OF_AN_HOUR = 3600


class Forecast:
    """Guesses the seconds left: epochs still to train, by the pace of those trained in this session."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._epochs = 0
        self._elapsed = 0.0
        self._heard = False

    def begin(self, run: RunState) -> None:
        """Take in that a session begins: what was trained before says nothing of its pace."""
        self._began, self._epochs, self._elapsed, self._heard = time.monotonic(), _epochs(run), run.elapsed, False

    def heard(self, report: Report) -> None:
        """Take in a report; the pace counts from where the first one began, not from the start of the workers."""
        if not self._heard:
            self._began, self._heard = max(self._began, time.monotonic() - report.seconds), True

    def left(self, run: RunState) -> float | None:
        """Guess the seconds left; None where nothing is known yet, or nothing is left."""
        passed, trained = self._pace(run)
        todo = epochs_left(run)
        if not todo or trained <= 0:
            return None
        left = todo * passed / trained
        hours = run.spec.budget.hours
        return left if hours is None else min(left, max(0.0, hours * SECONDS_OF_AN_HOUR - self._elapsed - passed))

    def rate(self, run: RunState) -> float | None:
        """Tell how many epochs are trained a minute, all trials together; None where nothing is known yet."""
        passed, trained = self._pace(run)
        return 60 * trained / passed if trained > 0 and passed > 0 else None

    def _pace(self, run: RunState) -> tuple[float, int]:
        return time.monotonic() - self._began, _epochs(run) - self._epochs


def share_done(run: RunState) -> float:
    """Guess the share of the run that is done, from 0 to 1: of its epochs, or of its hours where those end first."""
    todo, trials = epochs_left(run), list(run.trials.values())
    if todo is None:
        share = sum(trial.status == "ended" for trial in trials) / run.spec.trials
    else:
        trained = _epochs(run)
        share = trained / (trained + todo) if todo else 1.0
    hours = run.spec.budget.hours
    return share if hours is None else min(1.0, max(share, run.elapsed / (hours * SECONDS_OF_AN_HOUR)))


def epochs_left(run: RunState) -> float | None:
    """Guess how many epochs are still to train, if the trials to come are like those that ended.

    Repeats on fresh seeds train all their epochs, unless they are dropped.
    """
    last = run.spec.budget.epochs
    repeats = sum(max(0.5, last - one.epoch) for one in list(run.repeats.values()) if one.status != "ended")
    repeats += repeats_left(run) * last
    if run.spec.total_epochs is not None and not run.closed:
        return repeats + _left_of(run, run.spec.total_epochs + run.overshoot)
    trials = list(run.trials.values())
    open_ones = [trial for trial in trials if trial.status != "ended"]
    coming = 0 if run.closed else run.spec.trials - len(trials)
    if not open_ones and not coming:
        return repeats
    length: float = last
    if run.spec.scheduler.kind not in ("none", "pbt"):
        ended = [trial.epoch for trial in trials if trial.status == "ended" and trial.reports]
        if not ended:
            return None
        length = sum(ended) / len(ended)
    # Half an epoch at least: a trial that has outlived the others still has something to do.
    return repeats + coming * length + sum(max(0.5, length - trial.epoch) for trial in open_ones)


def _left_of(run: RunState, total: int) -> float:
    """Count what is left of the epochs of all trials together, and what the best one is trained alone after that."""
    left, best = max(0, total - _epochs(run)), run.trials[run.best.trial] if run.best else None
    if best is None:
        return left + run.spec.budget.epochs if left else 0
    return left + (run.spec.budget.epochs - best.epoch if best.status != "ended" else 0)


def _epochs(run: RunState) -> int:
    return epochs.of_run(run)
