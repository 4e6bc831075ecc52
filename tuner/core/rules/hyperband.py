"""Hyperband (Li et al. 2018) with asynchronous brackets: ASHA with several grace periods."""

from __future__ import annotations

import math

from tuner.core import chance
from tuner.core.records import Decision
from tuner.core.rules.asha import Ladder
from tuner.core.rules.rule import NONE, Tops
from tuner.core.standing import Metrics
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec import kinds
from tuner.spec.experiment import Experiment


class Hyperband:
    """Send each trial through one of several brackets of ASHA."""

    version = 2

    def __init__(self, experiment: Experiment, scheduler: kinds.Hyperband, tops: Tops = NONE) -> None:
        factor = scheduler.reduction_factor
        last = min(tops, default=experiment.budget.epochs)  # a larger budget moves no trial to another bracket
        fitting = int(math.log(last / scheduler.grace_epochs, factor) + 1e-9) + 1
        count = min(scheduler.brackets or fitting, fitting)
        graces = [round(scheduler.grace_epochs * factor**s) for s in range(count)]
        self.ladder = Ladder(experiment, factor, scheduler.promote, graces, tops, self.bracket)
        self.seed = experiment.seed
        # Hyperband gives each bracket about the same budget: a bracket with fewer rungs takes fewer trials.
        weights = [factor ** (count - 1 - s) / (fitting - s) for s in range(count)]
        self.shares = [weight / sum(weights) for weight in weights]

    def bracket(self, number: int) -> int:
        """Draw the bracket of a trial from its number."""
        left = chance.uniform(self.seed, "bracket", number)
        for bracket, share in enumerate(self.shares):
            if left < share:
                return bracket
            left -= share
        return len(self.shares) - 1

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Hold the value against the trial's own bracket."""
        return self.ladder.judge(run, trial, epoch, metrics, self.bracket(trial.number))

    def next(self, run: RunState) -> str | None:
        """Name a paused trial that deserves to go on, of the highest rung first."""
        return self.ladder.next(run)

    def judged_epochs(self) -> frozenset[int]:
        """The rungs of all brackets."""
        return self.ladder.saved_epochs()

    def saved_epochs(self) -> frozenset[int]:
        """The rungs of all brackets."""
        return self.ladder.saved_epochs()
