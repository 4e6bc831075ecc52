"""What a freeze-thaw search hears: from the ledger's records it builds its model and its candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tuner.core import chance
from tuner.core.records import Asked, Ended, Promoted, Record, Report, Suggested, trial_number
from tuner.core.rules.thaw import thaw_epochs
from tuner.core.search import prior
from tuner.core.search.blas import ONE_THREAD
from tuner.core.search.joint import Array
from tuner.core.search.model import Model
from tuner.core.search.points import Points
from tuner.core.search.pool import FRESH, SIZE, Pool
from tuner.core.standing import Metrics, violation
from tuner.spec.experiment import Experiment

BEHIND = -1e300
"""Less than any metric's score."""
BEST = 8
"""Near so many of the best trials new params are drawn."""


@dataclass(slots=True)
class Known:
    """What the search keeps of a trial."""

    params: dict[str, Any]
    point: Array
    straight: str
    """`chance` or `model`, by which it was chosen to run to the end without a pause; empty for any other trial."""
    target: int
    """The epoch of its open row."""
    belief: float
    """How much more likely its params are by the user's priors than by an even draw: a logarithm."""
    epoch: int = 0
    score: float = -math.inf
    """Its last value: higher is better."""


class Heard:
    """Builds the model from the ledger's records.

    `candidates` are all the params that there are, where they come from a table.
    """

    def __init__(self, spec: Experiment, candidates: Sequence[Mapping[str, Any]] = ()) -> None:
        self.spec, self.seed = spec, spec.search_seed
        self.points = Points(spec.space)
        self.model = Model(self.points.group, spec.budget.epochs, self.seed)
        self.pool = Pool(self.points, self.model.put, partial(prior.log_density, spec.space))
        self.tops: list[int] = []
        """The last epochs of smaller budgets."""
        self.rungs = thaw_epochs(spec.budget.epochs)
        self.trials: dict[int, Known] = {}
        self.records = 0
        """So many it has observed."""
        self.is_table = bool(candidates)
        self.decisions = 0
        """So many were carried out."""
        self.best_trial, self._best_score = -1, -math.inf
        """The trial with the best value so far, and that."""
        self._fill(candidates)
        self._learn()

    @ONE_THREAD
    def observe(self, record: Record) -> None:
        """Take in one record of the ledger, in order."""
        self.records += 1
        if isinstance(record, Suggested):
            self._begins(record)
        elif isinstance(record, Asked) and record.changes:
            self._changes(record)
        elif isinstance(record, Report | Ended | Promoted | Asked) and record.trial is not None:
            number = trial_number(record.trial) if record.trial[1:].isdecimal() else -1
            if number in self.trials:
                self._hears(number, self.trials[number], record)

    def score(self, metrics: Metrics) -> float:
        """Find what a report is ranked by: higher is better, minus infinity where it is not finite.

        One that breaks a constraint ranks behind all that break none, by how much it does.
        """
        value = metrics[self.spec.objective.metric]
        if not math.isfinite(value):
            return -math.inf
        over = violation(self.spec, metrics)
        return BEHIND * (1 + over / (1 + over)) if over else self.spec.objective.score(value)

    def next_rung(self, number: int) -> int:
        """Tell where a trial would be judged next if it went on."""
        return next((rung for rung in self.rungs if rung > self.trials[number].epoch), self.rungs[-1])

    def _begins(self, record: Suggested) -> None:
        number, point = record.number, self.points.of(record.params)
        rung = record.attributes["rung"]
        belief = prior.log_density(self.spec.space, record.params)
        self.trials[number] = Known(dict(record.params), point, record.attributes.get("straight", ""), rung, belief)
        self.decisions += 1
        self.pool.begin(number, point)
        self.model.open(number, point, rung)
        if not self.is_table:
            self.pool.drop_oldest(len(self.pool.candidates) + FRESH - SIZE)
            self.pool.add(self._fresh(number))

    def _fresh(self, number: int) -> list[dict[str, Any]]:
        """Draw new params: some near the best trials, some from the priors where there are any, some evenly."""
        best = sorted(self.trials.values(), key=lambda known: -known.score)[:BEST]
        drawn = []
        for i in range(FRESH):
            if i % 2:
                drawn.append(self._drawn(number, i))
            else:
                near = best[chance.integer(self.seed, "near", number, i, below=len(best))]
                drawn.append(self.points.near(near.params, self.seed, "fresh", number, i))
        return drawn

    def _drawn(self, *counter: int) -> dict[str, Any]:
        if prior.has_prior(self.spec.space) and counter[-1] % 4 == 1:
            return prior.sample(self.spec.space, self.seed, "believed", *counter)
        return self.points.draw(self.seed, "drawn", *counter)

    def _fill(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        self.pool.add([dict(one) for one in candidates] or [self._drawn(0, i) for i in range(SIZE)])

    def _learn(self) -> None:
        """Take in what earlier runs showed, as trials of negative numbers."""
        for i, trial in enumerate(trial for trial in self.spec.start.learned if trial.comparable):
            point = self.points.of(trial.params)
            last, score = self.spec.budget.epochs, self.spec.objective.score
            shown = [(e, score(v)) for e, v in zip(trial.epochs, trial.values, strict=True) if e <= last]
            if trial.diverged:
                shown.append((min(last, 1 + max((epoch for epoch, _ in shown), default=0)), -math.inf))
            # The first and the last say most: a fit of all that was ever shown would hold up the beginning.
            self.model.learn(
                [(-2 - i, point, epoch, value) for epoch, value in dict.fromkeys([*shown[:1], *shown[-1:]])]
            )
        self.model.fit_now()

    def _hears(self, number: int, known: Known, record: Report | Ended | Promoted | Asked) -> None:
        if isinstance(record, Promoted):
            self.decisions += 1
            self._open(number, known)
        elif isinstance(record, Report):
            self._reported(number, known, record)
        elif isinstance(record, Ended) and self.model.seen.is_open(number):
            if record.outcome in ("failed", "infeasible"):
                self._close(number, -math.inf)
            elif record.outcome == "finished":
                self._close(number, known.score)
        if isinstance(record, Ended | Asked):
            self.pool.end(number)

    def _reported(self, number: int, known: Known, record: Report) -> None:
        known.epoch, known.score = record.epoch, self.score(record.metrics)
        if known.score > self._best_score:
            self.best_trial, self._best_score = number, known.score
        ends = record.decision.action == "end" and not self._may_go_on(record)
        if (ends or known.epoch >= known.target) and self.model.seen.is_open(number):
            self._close(number, known.score)
            if record.decision.action == "go":
                self.decisions += 1
            if record.decision.action == "go" or self._may_go_on(record):
                self._open(number, known)
        if ends:
            self.pool.end(number)

    def _may_go_on(self, record: Report) -> bool:
        """Tell whether a trial that ended the run by its target would go on with a harder one."""
        return record.decision.target and record.epoch < self.spec.budget.epochs

    def _close(self, number: int, score: float) -> None:
        for forgotten in self.model.close(number, score):
            self.pool.end(forgotten)

    def _open(self, number: int, known: Known) -> None:
        if number not in self.pool.trials:  # it was forgotten, and goes on all the same
            self.pool.begin(number, known.point)
        known.target = self.next_rung(number)
        self.model.open(number, known.point, known.target)

    def _changes(self, record: Asked) -> None:
        """Take on a larger budget: those that were finished may go on."""
        before = self.spec.budget.epochs
        self.spec = self.spec.with_parts(record.changes)
        if self.spec.budget.epochs == before:
            return
        self.tops.append(before)
        self.rungs = thaw_epochs(self.spec.budget.epochs, self.tops)
        self.model.rescale(self.spec.budget.epochs)
        for number, known in self.trials.items():
            if known.epoch >= before and math.isfinite(known.score) and number not in self.pool.trials:
                self.pool.begin(number, known.point)
