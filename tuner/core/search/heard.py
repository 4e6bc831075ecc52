"""What a freeze-thaw search hears: from the ledger's records it builds its model and its candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import stdtr

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
"""Near so many that promise most, new params and trials that may go on, more new params are drawn."""
DEGREES = 4.0
"""Of freedom, of the odds."""
BELIEF = 10.0
"""How much the priors weigh at the first trial; at the n-th it is an n-th of that."""
MARGIN = 0.5
"""The largest margin, in standard scores, by which a trial is to end better than the best so far."""


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

    def odds(self, margin: float) -> Array:
        """Compute the logarithm of the odds that each column ends better than the best so far by a margin; (m,).

        They are those of Student's t: by those of the normal distribution the model is surer than it should be.
        """
        expected = self.model.expects()
        return np.asarray(np.log(stdtr(DEGREES, (expected.means - expected.best - margin) / expected.deviations)))

    def beliefs(self, new: Sequence[int], trials: Sequence[int] = ()) -> Array:
        """Weigh new params, by their columns, and trials by the user's priors, the less the more trials there are.

        After πBO, Hvarfner et al. 2022, where all trials are whole. Here what is believed says of a paused trial too
        that it ends better than it looks.
        """
        weights = [*(self.pool.candidates[place].belief for place in new), *(self.trials[n].belief for n in trials)]
        return BELIEF / max(len(self.trials), 1) * np.array(weights)

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
            self._renew(number)

    def _renew(self, number: int) -> None:
        """Exchange the candidates that promise least for new ones, half of them near what promises most."""
        new, trials = self.pool.candidates, self.pool.trials
        if self.model.is_ready:
            places = [*new, *trials.values()]
            promise = self.odds(MARGIN)[places] + self.beliefs(list(new), list(trials))
            order = np.argsort(-promise, kind="stable").tolist()
            known = [*(one.params for one in new.values()), *(self.trials[n].params for n in trials)]
            best = [known[i] for i in order[:BEST]]
            least = [places[i] for i in reversed(order) if i < len(new)]
        else:
            best = [one.params for one in sorted(self.trials.values(), key=lambda one: -one.score)[:BEST]]
            least = list(new)
        self.pool.let_go(least[: max(len(new) + FRESH - SIZE, 0)])
        self.pool.add([self._fresh(best, number, i) for i in range(FRESH)])

    def _fresh(self, best: Sequence[Mapping[str, Any]], number: int, i: int) -> dict[str, Any]:
        """Draw new params: some near the best, some from the priors where there are any, some evenly."""
        if i % 2:
            return self._drawn(number, i)
        near = best[chance.integer(self.seed, "near", number, i, below=len(best))]
        return self.points.near(near, self.seed, "fresh", number, i)

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
