"""Freeze-thaw (after Swersky et al. 2014): a trial pauses at each rung; a model says which of them go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count, pairwise, takewhile
from typing import Protocol, runtime_checkable

from tuner.core.records import GO, Decision, Mark
from tuner.core.standing import Metrics, Standing, standing
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment


@runtime_checkable
class Chooser(Protocol):
    """The model, as the rule sees it."""

    def target(self, trial: str) -> int:
        """Tell the epoch at which a trial pauses next."""
        ...

    def keeps(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> bool:
        """Tell whether a trial that comes to its rung goes on at once: it would be chosen among all that are paused."""
        ...

    def goes_on(self, run: RunState) -> str | None:
        """Name the paused trial that goes on; None where a new one should begin, or nothing is left."""
        ...


def thaw_epochs(last: int, tops: Collection[int] = ()) -> list[int]:
    """List the rungs: each a fifth after the one before, up to 0.8 of the last epoch, and that one.

    `tops` are the last epochs of smaller budgets, which are rungs too.
    """
    before = takewhile(lambda epoch: epoch < 0.8 * last, (round(1.2**k) for k in count()))
    return sorted({*before, *tops, last})


def able(run: RunState) -> list[TrialState]:
    """List the trials that were trained to the end or still can be."""
    return [t for t in run.trials.values() if t.status != "ended" or t.outcome == "finished"]


def leader(run: RunState, latest: Mapping[str, Standing] = {}) -> TrialState | None:
    """Find the best trial of those that were trained to the end or still can be.

    `latest` is how trials stand by a report that the run does not know yet. None where there is no such trial.
    """
    shown = [t for t in able(run) if t.best is not None or t.id in latest]
    return max(shown, key=lambda t: (max(t.standing, latest.get(t.id, t.standing)), -t.number), default=None)


class Thaw:
    """Pause a trial where the model wants to see it; let go on whom the model chooses.

    Once the run's epochs are trained, the best trial alone goes on, to its last epoch; where it ends badly the next
    one does, until one more full training was spent on that, beside what others trained on the way to their rungs.
    """

    version = 9

    def __init__(self, experiment: Experiment, chooser: Chooser | None, tops: Collection[int] = ()) -> None:
        """Without a chooser it can only tell its rungs."""
        self.objective, self.chooser = experiment.objective, chooser
        self.rungs = thaw_epochs(experiment.budget.epochs, tops)
        self._widest = max(after - before for before, after in pairwise([0, *self.rungs]))

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Pause at the rung that the trial was sent to."""
        assert self.chooser is not None
        target = self.chooser.target(trial.id)
        if epoch < target:
            return GO
        value = metrics[self.objective.metric]
        score, rung = self.objective.score(value), run.rungs.get((0, target), [])
        rank = 1 + sum(-entry[0] > score for entry in rung)
        mark = Mark(bracket=0, epoch=target, value=value, cutoff=None, rank=rank, of=len(rung) + 1)
        if run.is_spent_by(epoch - trial.epoch):
            goes = leader(run, {trial.id: standing(run.spec, metrics)}) is trial
        else:
            goes = self.chooser.keeps(run, trial, epoch, metrics)
        return Decision(action="go" if goes else "pause", mark=mark)

    def next(self, run: RunState) -> str | None:
        """Name the trial that the model chooses, or the best one: at the end, or where it would let none go on."""
        assert self.chooser is not None
        if not run.is_spent_by(0):
            chosen = self.chooser.goes_on(run)
            if chosen is not None or run.wants_trials:
                return chosen
        elif run.is_spent_by(-run.spec.budget.epochs - run.slots * self._widest):
            return None
        best = leader(run)
        return best.id if best is not None and best.status == "paused" else None

    def judged_epochs(self) -> frozenset[int]:
        """The rungs."""
        return self.saved_epochs()

    def saved_epochs(self) -> frozenset[int]:
        """The rungs."""
        return frozenset(self.rungs)
