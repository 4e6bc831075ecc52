"""Asynchronous successive halving (Li et al. 2020), stopping or promoting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tuner.core.records import Decision, Mark
from tuner.core.rules.rule import GO, NONE, Tops
from tuner.core.state import Entry, RunState
from tuner.core.trial import TrialState
from tuner.spec import kinds
from tuner.spec.experiment import Experiment


def rung_epochs(grace: int, factor: float, last: int) -> list[int]:
    """List the epochs of the rungs: grace · factor^k, as far as they lie before the last epoch."""
    epochs: list[int] = []
    while (epoch := round(grace * factor ** len(epochs))) < last:
        epochs.append(epoch)
    return list(dict.fromkeys(epochs))


def cutoff(rung: Sequence[Entry], factor: float) -> float | None:
    """Find the score that the best 1/factor of a rung have at least; None on an empty rung.

    It is the upper neighbour of the (1 − 1/factor) quantile over ranks, never a mixture of two values.
    """
    if not rung:
        return None
    from_the_worst = math.ceil((len(rung) - 1) * (1 - 1 / factor) - 1e-9)
    return -rung[len(rung) - 1 - from_the_worst][0]


class Asha:
    """Stop a trial that is not among the best 1/factor at a rung, or pause it until it is."""

    version = 2

    def __init__(self, experiment: Experiment, scheduler: kinds.Asha, tops: Tops = NONE) -> None:
        factor, graces = scheduler.reduction_factor, [scheduler.grace_epochs]
        self.ladder = Ladder(experiment, factor, scheduler.promote, graces, tops)

    def judge(self, run: RunState, trial: TrialState, epoch: int, value: float) -> Decision:
        """Hold the value against the rung that the epoch crossed."""
        return self.ladder.judge(run, trial, epoch, value, bracket=0)

    def next(self, run: RunState) -> str | None:
        """Name the best paused trial of the highest rung that deserves to go on."""
        return self.ladder.next(run)

    def judged_epochs(self) -> frozenset[int]:
        """The rungs."""
        return self.ladder.saved_epochs()

    def saved_epochs(self) -> frozenset[int]:
        """The rungs."""
        return self.ladder.saved_epochs()


class Ladder:
    """The rungs of one or several brackets, each with a grace of its own (epochs).

    Where the budget has grown, the last epoch of the smaller one is a rung too: the best 1/factor of those that were
    finished there go on.
    """

    def __init__(
        self,
        experiment: Experiment,
        factor: float,
        promote: bool,
        graces: list[int],
        tops: Tops = NONE,
        bracket_of: Callable[[int], int] = lambda number: 0,
    ) -> None:
        self.objective = experiment.objective
        self.factor, self.promote, self.tops, self.bracket_of = factor, promote, tops, bracket_of
        last = experiment.budget.epochs
        self.brackets = [sorted({*rung_epochs(grace, factor, last), *tops}) for grace in graces]

    def judge(self, run: RunState, trial: TrialState, epoch: int, value: float, bracket: int) -> Decision:
        """Decide at the highest rung crossed; a rung skipped on the way counts for nothing."""
        reached = self._reached(trial)
        crossed = [rung for rung in self.brackets[bracket] if reached < rung <= epoch]
        if not crossed:
            return GO
        rung = self._rung(run, bracket, crossed[-1])
        score = self.objective.score(value)
        others = cutoff(rung, self.factor)
        mark = Mark(
            bracket=bracket,
            epoch=crossed[-1],
            value=value,
            cutoff=None if others is None else self.objective.score(others),
            rank=1 + sum(-entry[0] > score for entry in rung),
            of=len(rung) + 1,
        )
        if self.promote:
            best = mark.rank <= self._best_of(mark.of)
            return Decision(action="go" if best else "pause", mark=mark)
        if others is not None and score < others:
            return Decision(action="end", outcome="stopped", mark=mark, reason=self._reason(mark))
        return Decision(action="go", mark=mark)

    def next(self, run: RunState) -> str | None:
        """Name the best paused trial of the highest rung that is among the best 1/factor of it."""
        rungs = {(epoch, bracket) for bracket, epochs in enumerate(self.brackets) for epoch in epochs}
        for epoch, bracket in sorted((rung for rung in rungs if self.promote or rung[0] in self.tops), reverse=True):
            rung = self._rung(run, bracket, epoch)
            count = max(self._best_of(len(rung)), int(epoch in self.tops))
            for _, _, name in rung[:count]:
                if run.trials[name].status == "paused" and self._reached(run.trials[name]) == epoch:
                    return name
        return None

    def _best_of(self, count: int) -> int:
        """Count the best 1/factor of so many; 8 // 1.6 would be 4."""
        return math.floor(count / self.factor + 1e-9)

    def _rung(self, run: RunState, bracket: int, epoch: int) -> list[Entry]:
        """List who came to a rung, the best first."""
        came = run.rungs.get((bracket, epoch), [])
        if epoch not in self.tops:
            return came
        finished = [run.trials[name] for name in self.tops[epoch]]
        return sorted([*came, *(self._entry(run, t, epoch) for t in finished if self.bracket_of(t.number) == bracket)])

    def _entry(self, run: RunState, trial: TrialState, epoch: int) -> Entry:
        report = next(report for report in trial.reports if report.epoch >= epoch)
        return -self.objective.score(run.objective(report)), trial.number, trial.id

    def _reached(self, trial: TrialState) -> int:
        """Tell which rung a trial came to last; a paused one waits there."""
        finished_at = max((epoch for epoch, names in self.tops.items() if trial.id in names), default=0)
        return max(finished_at, trial.mark.epoch if trial.mark else 0)

    def saved_epochs(self) -> frozenset[int]:
        """All rungs of all brackets."""
        return frozenset(epoch for epochs in self.brackets for epoch in epochs)

    def _reason(self, mark: Mark) -> str:
        metric, share = self.objective.metric, f"1/{self.factor:g}"
        return (
            f"{metric} {mark.value:.6g} at epoch {mark.epoch} is number {mark.rank} of {mark.of}; "
            f"the best {share} have {mark.cutoff:.6g}"
        )
