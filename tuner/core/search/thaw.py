"""Freeze-thaw: one model chooses both new params and which paused trial goes on (after Swersky et al. 2014).

A trial pauses at each rung. Whenever a worker is free, all paused trials compete for it and, where another may begin,
a pool of new params: by the probability that they end better than the best so far by some margin, over the square root
of the epochs that this takes: those to their next rung, or to the end. The margin, and which of the two, are drawn anew
for each decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from tuner.core import chance
from tuner.core.records import trial_id, trial_number
from tuner.core.rules.thaw import able
from tuner.core.search.asker import Suggestion
from tuner.core.search.blas import ONE_THREAD
from tuner.core.search.first import first
from tuner.core.search.heard import Heard
from tuner.core.search.joint import Array
from tuner.core.standing import Metrics
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.spec.experiment import Experiment
from tuner.spec.space import indices

BY_CHANCE = 0.1
"""The share of the decisions at which a new trial may begin that begin a random one, whatever the model says."""
STRAIGHT, MISLED = 0.1, 0.5
"""The share of all epochs for trials that run to the end without a pause, one by chance, one by the model, in turn; and
what it is while the model is misled: one by chance is the best of all, say where curves cross, or early epochs do not
tell. They are the safeguard: they are judged by nothing but their end, and show the model where it errs.
"""
FIRST_RUNGS = (1, 2, 4)
"""Where a new trial pauses first, drawn for each: a mix of brackets, in place of a grace."""
MARGIN = 0.5
"""The largest margin, in standard scores; the smallest is a hundredth of it."""
DEGREES = 4.0
"""Of freedom, of the odds."""
COST = 0.5
"""The power of the epochs that a candidate's odds are divided by."""
WHOLE, AFTER = 0.5, 10
"""The share of decisions that count the epochs to the end, and after so many full trainings; until then it grows
evenly. The others count the epochs to the next rung. By these alone the cheapest goes on, and few come to the end where
the first rungs tell nothing of it.
"""
AHEAD = 5
"""New trials wait, and paused ones go on, until so many more full trainings (or with many workers, what one trial for
each makes up) would bring the mean of all that were begun to √(last epoch) epochs. Else new ones near the best begin
for ever: they cost least and are always a little less known. Those to start with and those without a pause do not wait.
"""
MEAN, LONG_MEAN = 0.5, 0.75
"""That mean as a power of the last epoch, and what it is where early epochs do not tell. Before AFTER full trainings
they are taken to tell: a fit knows too little.
"""
BELIEF = 10.0
"""How much the priors weigh at the first trial; at the n-th it is an n-th of that."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a free worker is to do: let a trial go on, or begin a new one."""

    trial: int | None
    params: Mapping[str, Any]
    rung: int
    straight: str = ""


class FreezeThaw(Heard):
    """Chooses, by the model that is built from what it hears.

    `candidates` are all the params that there are, where they come from a table.
    """

    def __init__(self, spec: Experiment, candidates: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(spec, candidates)
        self._choice: tuple[int, _Choice] | None = None
        """How many records it was made after, and what was chosen."""

    def target(self, trial: str) -> int:
        """Tell the epoch at which a trial is to be judged next."""
        return self.trials[trial_number(trial)].target

    def keeps(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> bool:
        """Tell whether a trial that comes to its rung goes on at once.

        What would be chosen if it paused is chosen from the same draws as when it does: no decision is drawn twice.
        """
        known = self.trials[trial.number]
        if known.straight:
            return True
        before, score = (known.epoch, known.score), self.score(metrics)
        known.epoch, known.score = epoch, score
        with self.model.seen.supposing(trial.number, score):
            choice = self._decide(run, trial.number)
        known.epoch, known.score = before
        return choice is not None and choice.trial == trial.number

    def goes_on(self, run: RunState) -> str | None:
        """Name the paused trial that goes on; None where a new one should begin, or nothing is left."""
        choice = self._choose(run)
        return None if choice is None or choice.trial is None else trial_id(choice.trial)

    def ask(self, number: int) -> Suggestion:
        """Give the params of a new trial: as they were chosen, or where no run has asked who goes on, by chance."""
        choice = self._made() or self._unasked(number)
        assert choice.trial is None
        params = dict(choice.params)
        attributes = {"rung": choice.rung, **({"straight": choice.straight} if choice.straight else {})}
        return Suggestion(params, indices(self.spec.space, params), self.records, attributes)

    def _choose(self, run: RunState) -> _Choice | None:
        choice = self._made() or self._decide(run)
        if choice is not None:
            self._choice = self.records, choice
        return choice

    def _made(self) -> _Choice | None:
        """Give what was chosen after the records that there are; None where that was before the last of them."""
        return self._choice[1] if self._choice is not None and self._choice[0] == self.records else None

    @ONE_THREAD
    def _decide(self, run: RunState, *pausing: int) -> _Choice | None:
        """Choose; `pausing` are trials that the run does not know as paused yet."""
        number = len(run.trials)
        paused = [*(t.number for t in run.having("paused") if t.number in self.pool.trials), *pausing]
        if run.wants_trials:
            if (given := first(self.spec, number)) is not None:
                return self._given(given.params, number)
            if self._owes_straight(run):
                return self._straight(number)
        begins = run.wants_trials and (not paused or self._may_begin(run))
        if begins and (not self.model.is_ready or self._uniform("chance") < BY_CHANCE):
            return self._by_chance(number)
        if self.model.is_ready:
            choice = self._by_model(paused, begins)
            return self._by_chance(number) if choice is None and run.wants_trials else choice
        best = max(paused, key=lambda n: self.trials[n].score, default=None)
        return None if best is None else self._on(best)

    def _unasked(self, number: int) -> _Choice:
        given = first(self.spec, number)
        return self._by_chance(number) if given is None else self._given(given.params, number)

    def _given(self, params: Mapping[str, Any], number: int) -> _Choice:
        return self._new(self.points.fill(params, self.seed, "fill", number))

    def _by_model(self, paused: Sequence[int], begins: bool) -> _Choice | None:
        """Choose by the odds to end better than the best so far by a margin, and by the cost."""
        new = list(self.pool.candidates) if begins else []
        places = np.array([*new, *(self.pool.trials[n] for n in paused)], dtype=np.int64)
        if not len(places):
            return None
        odds = self._odds(places) - COST * np.log(self._epochs(len(new), paused)) + self._beliefs(new, paused)
        best = int(odds.argmax())
        if best < len(new):
            return self._new(self.pool.candidates[new[best]].params)
        return self._on(paused[best - len(new)])

    def _epochs(self, new: int, paused: Sequence[int]) -> list[int]:
        """Count the epochs that so many new trials, and these paused ones, take to their next rung, or to the end."""
        last = self.spec.budget.epochs
        if self._uniform("whole") < WHOLE * min(1.0, self._trained() / (AFTER * last)):
            return [last - epoch for epoch in [*[0] * new, *(self.trials[n].epoch for n in paused)]]
        return [self._first_rung()] * new + [self.next_rung(n) - self.trials[n].epoch for n in paused]

    def _odds(self, places: NDArray[np.int64]) -> Array:
        """Compute the logarithm of the odds that columns end better than the best so far by the decision's margin.

        They are those of Student's t: by those of the normal distribution the model is surer than it should be.
        """
        expected, margin = self.model.expects(), MARGIN * 10 ** (-2 * self._uniform("margin"))
        means, deviations = expected.means[places], expected.deviations[places]
        return np.asarray(np.log(stdtr(DEGREES, (means - expected.best - margin) / deviations)))

    def _beliefs(self, new: Sequence[int], paused: Sequence[int] = ()) -> Array:
        """Weigh new params and paused trials by the user's priors, the less the more trials there are.

        After πBO, Hvarfner et al. 2022, where all trials are whole. Here what is believed says of a paused trial too
        that it ends better than it looks.
        """
        weights = [*(self.pool.candidates[place].belief for place in new), *(self.trials[n].belief for n in paused)]
        return BELIEF / max(len(self.trials), 1) * np.array(weights)

    def _straight(self, number: int) -> _Choice:
        """Begin a trial that runs to the end: by chance, and every other time by the model."""
        begun = sum(bool(known.straight) for known in self.trials.values())
        if begun % 2 and self.model.is_ready and self.pool.candidates:
            new = list(self.pool.candidates)
            odds = self._odds(np.array(new, dtype=np.int64)) + self._beliefs(new)
            return self._new(self.pool.candidates[new[int(odds.argmax())]].params, "model")
        return self._by_chance(number, "chance")

    def _by_chance(self, number: int, straight: str = "") -> _Choice:
        left = list(self.pool.candidates.values())
        if not self.is_table:
            params = self.points.draw(self.seed, "random", number)
            if not left or not self.pool.was_tried(self.points.of(params)):
                return self._new(params, straight)
        return self._new(left[chance.integer(self.seed, "table", number, below=len(left))].params, straight)

    def _new(self, params: Mapping[str, Any], straight: str = "") -> _Choice:
        return _Choice(None, params, self.rungs[0] if straight else self._first_rung(), straight)

    def _on(self, number: int) -> _Choice:
        return _Choice(number, {}, self.next_rung(number))

    def _owes_straight(self, run: RunState) -> bool:
        """Tell whether the share of epochs for straight trials has room for one more, which would come to its end."""
        last = self.spec.budget.epochs
        if run.is_spent_by(run.slots * last):
            return False
        begun = [run.trials[trial_id(number)] for number, known in self.trials.items() if known.straight]
        due = sum(last if trial.status == "running" else trial.epoch for trial in begun)
        chance_leads = self.best_trial >= 0 and self.trials[self.best_trial].straight == "chance"
        is_misled = chance_leads or not self._early_tells()
        return due + last <= (MISLED if is_misled else STRAIGHT) * self._trained()

    def _early_tells(self) -> bool:
        return self._trained() < AFTER * self.spec.budget.epochs or self.model.tells_early

    def _trained(self) -> int:
        """Count the epochs of all trials."""
        return sum(known.epoch for known in self.trials.values())

    def _may_begin(self, run: RunState) -> bool:
        """Tell whether those that were begun are trained for so long that another may begin.

        Only those count that live or have finished: no other will be trained any more.
        """
        last = self.spec.budget.epochs
        trials = able(run)
        mean: float = last ** (MEAN if self._early_tells() else LONG_MEAN)
        ahead = max(AHEAD * last, run.slots * mean)
        return len(trials) * mean <= sum(self.trials[trial.number].epoch for trial in trials) + ahead

    def _first_rung(self) -> int:
        drawn = FIRST_RUNGS[int(self._uniform("rung") * len(FIRST_RUNGS))]
        return next((rung for rung in self.rungs if rung >= drawn), self.rungs[-1])

    def _uniform(self, what: str) -> float:
        return chance.uniform(self.seed, what, self.decisions)
