"""Asynchronous successive halving (Li et al. 2020), stopping or promoting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tuner.core.records import GO, Decision, Mark, Report
from tuner.core.rules import ranking
from tuner.core.rules.rule import NONE, Tops
from tuner.core.standing import Metrics, broken
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
    return -rung[staying(len(rung), factor) - 1][0]


def staying(count: int, factor: float) -> int:
    """Count the places that are good enough, beside so many others: those down to the upper neighbour of the quantile.

    It is one at least.
    """
    return count - math.ceil((count - 1) * (1 - 1 / factor) - 1e-9)


def at(trial: TrialState, epoch: int) -> Report:
    """Find the report with which a trial came to a rung."""
    return next(report for report in trial.reports if report.epoch >= epoch)


def _share(count: int, factor: float) -> int:
    """Count the best 1/factor of so many, one at least."""
    return math.ceil(count / factor - 1e-9)


def _went_on(trial: TrialState, epoch: int) -> bool:
    """Tell whether a trial that came to a rung goes on, or has reported again; one that failed first has not."""
    return trial.status == "running" or trial.reports[-1] is not at(trial, epoch)


class Asha:
    """Stop a trial that is not among the best 1/factor at a rung, or pause it until it is.

    With a quota no more than 1/factor of those that came to a rung go on, but for the best 1/factor² so far. Without
    it, as in the paper, more do where none is paused: the first ones are held against few.
    """

    version = 2

    def __init__(self, experiment: Experiment, scheduler: kinds.Asha, tops: Tops = NONE) -> None:
        factor, graces = scheduler.reduction_factor, [scheduler.grace_epochs]
        self.ladder = Ladder(experiment, factor, scheduler.promote, graces, tops, quota=scheduler.quota)

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Hold the report against the rung that the epoch crossed."""
        return self.ladder.judge(run, trial, epoch, metrics, bracket=0)

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
        quota: bool = False,
    ) -> None:
        self.spec, self.objective, self.is_plain = experiment, experiment.objective, ranking.is_plain(experiment)
        self.factor, self.promote, self.tops, self.bracket_of = factor, promote, tops, bracket_of
        self.quota = quota and self.is_plain
        last = experiment.budget.epochs
        self.brackets = [sorted({*rung_epochs(grace, factor, last), *tops}) for grace in graces]
        self._sorted: dict[tuple[int, int], list[Entry]] = {}
        """(bracket, epoch) → the rung as it was ranked last; it is ranked anew when one more has come."""

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics, bracket: int) -> Decision:
        """Decide at the highest rung crossed; a rung skipped on the way counts for nothing."""
        reached = self._reached(trial)
        crossed = [rung for rung in self.brackets[bracket] if reached < rung <= epoch]
        if not crossed:
            return GO
        rung = self._rung(run, bracket, crossed[-1])
        mark = self._mark(run, rung, bracket, crossed[-1], metrics)
        if self.promote:
            best = mark.rank <= self._best_of(mark.of)
            return Decision(action="go" if best else "pause", mark=mark)
        if rung and mark.rank > staying(len(rung), self.factor):
            return Decision(action="end", outcome="stopped", mark=mark, reason=self._reason(mark, metrics))
        if self.quota and mark.rank > _share(mark.of, self.factor**2):
            gone = sum(_went_on(run.trials[name], crossed[-1]) for _, _, name in rung)
            if gone >= _share(mark.of, self.factor):
                return Decision(action="end", outcome="stopped", mark=mark, reason=self._full(mark, gone))
        return Decision(action="go", mark=mark)

    def _mark(self, run: RunState, rung: Sequence[Entry], bracket: int, epoch: int, metrics: Metrics) -> Mark:
        value, others = metrics[self.objective.metric], None
        if self.is_plain:
            score, others = self.objective.score(value), cutoff(rung, self.factor)
            ahead = sum(-entry[0] > score for entry in rung)
        else:
            *theirs, mine = self._keys(run, rung, epoch, metrics)
            ahead = sum(key < mine for key in theirs)
        return Mark(
            bracket=bracket,
            epoch=epoch,
            value=value,
            cutoff=None if others is None else self.objective.score(others),
            rank=1 + ahead,
            of=len(rung) + 1,
        )

    def _keys(self, run: RunState, rung: Sequence[Entry], epoch: int, *more: Metrics) -> list[ranking.Key]:
        """Find what those who came to a rung are ranked by there, and some more."""
        reports = [at(run.trials[name], epoch).metrics for _, _, name in rung]
        return ranking.keys(self.spec, [*reports, *more])

    def next(self, run: RunState) -> str | None:
        """Name the best paused trial of the highest rung that is among the best 1/factor of it."""
        rungs = {(epoch, bracket) for bracket, epochs in enumerate(self.brackets) for epoch in epochs}
        for epoch, bracket in sorted((rung for rung in rungs if self.promote or rung[0] in self.tops), reverse=True):
            rung = self._in_order(run, bracket, epoch)
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
        if epoch in self.tops:
            finished = [run.trials[name] for name in self.tops[epoch]]
            own = [trial for trial in finished if self.bracket_of(trial.number) == bracket]
            came = sorted([*came, *((-run.score(at(trial, epoch)), trial.number, trial.id) for trial in own)])
        return came

    def _in_order(self, run: RunState, bracket: int, epoch: int) -> list[Entry]:
        """Give a rung sorted by all that it is ranked by; it comes sorted by the first objective alone."""
        rung, place = self._rung(run, bracket, epoch), (bracket, epoch)
        if self.is_plain:
            return rung
        if len(self._sorted.setdefault(place, [])) != len(rung):
            self._sorted[place] = [entry for _, entry in sorted(zip(self._keys(run, rung, epoch), rung, strict=True))]
        return self._sorted[place]

    def _reached(self, trial: TrialState) -> int:
        """Tell which rung a trial came to last; a paused one waits there."""
        finished_at = max((epoch for epoch, names in self.tops.items() if trial.id in names), default=0)
        return max(finished_at, trial.mark.epoch if trial.mark else 0)

    def saved_epochs(self) -> frozenset[int]:
        """All rungs of all brackets."""
        return frozenset(epoch for epochs in self.brackets for epoch in epochs)

    def _full(self, mark: Mark, gone: int) -> str:
        return (
            f"{self._place(mark)}, not among the best 1/{self.factor**2:g}, and {gone} went on from there, "
            f"as many as the best 1/{self.factor:g} are or more"
        )

    def _reason(self, mark: Mark, metrics: Metrics) -> str:
        share = f"1/{self.factor:g}"
        if self.is_plain:
            return f"{self._place(mark)}; the best {share} have {mark.cutoff:.6g}"
        where = f"number {mark.rank} of {mark.of} at epoch {mark.epoch} by {ranking.how(self.spec)}"
        over = f"; {what}" if (what := broken(self.spec, metrics)) else ""
        return f"{where}, where the best {share} go on{over}"

    def _place(self, mark: Mark) -> str:
        """Say which place a value has."""
        return f"{self.objective.metric} {mark.value:.6g} at epoch {mark.epoch} is number {mark.rank} of {mark.of}"
