"""How long a run will still take, from the pace of this session."""

from __future__ import annotations

import time

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
        passed, trained = time.monotonic() - self._began, _epochs(run) - self._epochs
        todo = epochs_left(run)
        if not todo or trained <= 0:
            return None
        left = todo * passed / trained
        hours = run.spec.budget.hours
        return left if hours is None else min(left, max(0.0, hours * SECONDS_OF_AN_HOUR - self._elapsed - passed))


def epochs_left(run: RunState) -> float | None:
    """Guess how many epochs are still to train, if the trials to come are like those that ended.

    Repeats on fresh seeds train all their epochs, unless they are dropped.
    """
    last = run.spec.budget.epochs
    repeats = sum(max(0.5, last - one.epoch) for one in list(run.repeats.values()) if one.status != "ended")
    repeats += repeats_left(run) * last
    trials = list(run.trials.values())
    open_ones = [trial for trial in trials if trial.status != "ended"]
    coming = 0 if run.closed else run.spec.trials - len(trials)
    if not open_ones and not coming:
        return repeats
    length: float = last
    if run.spec.scheduler.kind not in ("none", "pbt"):
        ended = [len(trial.reports) for trial in trials if trial.status == "ended" and trial.reports]
        if not ended:
            return None
        length = sum(ended) / len(ended)
    # Half an epoch at least: a trial that has outlived the others still has something to do.
    return repeats + coming * length + sum(max(0.5, length - trial.epoch) for trial in open_ones)


def _epochs(run: RunState) -> int:
    return sum(len(trial.reports) for trial in list(run.everyone()))
