"""The model of a freeze-thaw search: rows, columns, and a posterior that is fitted anew from time to time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.core import chance
from tuner.core.search import joint
from tuner.core.search.blas import ONE_THREAD
from tuner.core.search.joint import Array, Rows
from tuner.core.search.posterior import Posterior
from tuner.core.search.seen import Seen, ranks, scaled

STARTUP = 16
"""Rows that are seen before the first fit."""
REFIT = 1.5
"""A fit follows whenever there are so many times the rows of the last one, as long as these are not too many."""
LAG = 4
"""A fit is used so many rows after the last that it has seen: meanwhile it is computed."""
LAG_SHARE = 20
"""Or a twentieth of the rows after it, where that is more: it takes the longer, the more there are."""
MOST_FITTED = 160
"""Rows that a fit looks at."""
LEADING = 0.6
"""The share of them that comes from the trials that got furthest; the others are whole trials by chance."""
HELD, KEPT = 1800, 1200
"""An answer costs the square of the rows, so there are about so many at most: a fit of more than the fewer keeps these,
and the next one follows before there are more. Kept are in the same parts the trials that stand best, and others by
chance; those that lose all of their rows compete no more.
"""

Fitted = tuple[Array, Posterior]
Job = Callable[[], Fitted]
Later = Callable[[Job], Job]
"""Begins a job, and gives what its result is asked of: the job itself, or another thread's promise."""


@dataclass(frozen=True)
class Expected:
    """What is expected of columns at the last epoch, in standard scores: means and deviations, (m,) each."""

    means: Array
    deviations: Array
    best: float
    """The best standard score that any row has."""


class Model:
    """Opens and closes rows, keeps columns, and answers what is expected of these.

    All that it does hangs on the order of its calls alone; when a fit is computed makes no difference.
    """

    def __init__(self, group: NDArray[np.int64], last: int, seed: int) -> None:
        self.group, self.last, self.seed = group, last, seed
        self.seen = Seen()
        self.columns = Rows(np.zeros((0, len(group))), np.zeros(0), np.zeros(0, dtype=np.int64))
        self.later: Later = lambda job: job
        self._numbers = joint.start(int(group.max()) + 1)
        self._posterior: Posterior | None = None
        self._next = STARTUP
        self._job: Job | None = None
        self._held: list[int] = []
        """The rows of the posterior, in its order."""
        self._fitted: list[int] = []
        """Those of the fit that is under way."""
        self._rows_fitted = 0
        """So many rows there were when it began."""
        self._take_at = 0
        self._changed: set[int] = set()
        """Columns that were put since the fit that is under way has begun."""

    @property
    def is_ready(self) -> bool:
        """Tell whether it expects anything yet."""
        return self._posterior is not None

    @property
    def tells_early(self) -> bool:
        """Tell whether early epochs tell of the end, by the fit in use; before the first they are taken to."""
        return self._posterior is None or self._posterior.kernel.tells_early

    def open(self, trial: int, x: Array, epoch: int) -> None:
        """Begin a row: a trial, at a point, is on its way to an epoch."""
        place = Rows(x[None], scaled(np.array([float(epoch)]), self.last), np.array([trial], dtype=np.int64))
        expected = 0.0
        if self._posterior is not None:
            expected = self._posterior.mean_at(place, self.seen.values()[0][self._held])
            self._posterior.append(place)
        self._held.append(len(self.seen))
        self.seen.open(trial, x, epoch, expected)

    def learn(self, rows: Sequence[tuple[int, Array, int, float]]) -> None:
        """Take in complete rows (trial, point, epoch, score)."""
        for trial, x, epoch, score in rows:
            self.open(trial, x, epoch)
            self.seen.close(trial, score)

    def fit_now(self) -> None:
        """Fit what was learned, and use it from the first trial on, if it is enough for a fit."""
        if self.seen.complete >= self._next:
            self._begin()
            assert self._job is not None
            self._take(self._job)

    def close(self, trial: int, score: float) -> list[int]:
        """Take in what a trial showed where its row is: higher is better, minus infinity where it failed.

        Returns the trials that are forgotten from here on.
        """
        self.seen.close(trial, score)
        if self._job is not None and self.seen.complete >= self._take_at:
            self._take(self._job)
        if self._job is not None or self.seen.complete < self._next:
            return []
        self._begin()
        trial_of = self.seen.trial
        return sorted({trial_of[i] for i in self._held} - {trial_of[i] for i in self._fitted})

    def put(self, places: NDArray[np.int64], x: Array, ids: NDArray[np.int64]) -> None:
        """Put columns at places: over others, or behind the last one. One of a trial has its number as its id."""
        new = Rows(x, np.ones(len(places)), ids)
        self.columns = self.columns.grown(max(len(self.columns), int(places.max()) + 1))  # a fit may hold the old ones
        self.columns.put(places, new)
        self._changed.update(places.tolist())
        if self._posterior is not None:
            self._posterior.put(places, new)

    def expects(self) -> Expected:
        """Answer for all columns; not before it is ready."""
        assert self._posterior is not None
        values, done = self.seen.values()
        means = self._posterior.means(values[self._held])
        return Expected(means, self._posterior.deviations(), float(values[done].max()))

    def rescale(self, last: int) -> None:
        """Take on another last epoch; the fit that is under way is dropped."""
        if self._job is not None:  # who is forgotten in it is forgotten already
            self._hold_what_was_fitted()
        self.last, self._job = last, None
        if self._posterior is not None:
            self._posterior = Posterior(self._posterior.kernel, self.seen.rows(last, self._held), self.columns)

    def _begin(self) -> None:
        values, done = self.seen.values()
        self._fitted = self._worth_keeping(values, done)
        held, columns = self.seen.rows(self.last, self._fitted), self.columns
        values, complete = values[self._fitted], np.flatnonzero(done[self._fitted])
        seed = chance.integer(self.seed, "fit", self.seen.complete)
        picked = complete[_telling(held.trial[complete], _reach(held.part(complete)), seed, MOST_FITTED)]
        numbers, group = self._numbers, self.group

        @ONE_THREAD
        def job() -> Fitted:
            found = joint.fit(held.part(picked), values[picked], group, numbers)
            return found, Posterior(joint.unpack(found, group), held, columns)

        self._rows_fitted, self._take_at = len(self.seen), self.seen.complete + max(LAG, len(complete) // LAG_SHARE)
        self._next = min(math.ceil(self.seen.complete * REFIT), self.seen.complete + HELD - KEPT)
        self._changed.clear()
        self._job = self.later(job)

    def _worth_keeping(self, values: Array, done: NDArray[np.bool_]) -> list[int]:
        """Choose the rows of the next posterior: all, while there is room for those to come."""
        complete = [i for i in self._held if done[i]]
        if len(complete) <= KEPT:
            return list(self._held)
        rows = self.seen.rows(self.last, complete)
        seed = chance.integer(self.seed, "keep", self.seen.complete)
        kept = _telling(rows.trial, _standing(rows, values[complete]), seed, KEPT)
        chosen = {complete[i] for i in kept.tolist()}
        return [i for i in self._held if i in chosen or not done[i]]

    def _take(self, job: Job) -> None:
        self._numbers, self._posterior = job()
        self._job = None
        self._hold_what_was_fitted()
        self._posterior.append(self.seen.rows(self.last, self._held[len(self._fitted) :]))
        if self._changed:
            places = np.array(sorted(self._changed), dtype=np.int64)
            self._posterior.put(places, self.columns.part(places))

    def _hold_what_was_fitted(self) -> None:
        """Hold the rows of the fit that is under way, and those that have come since it began."""
        self._held = [*self._fitted, *range(self._rows_fitted, len(self.seen))]


def _telling(trials: NDArray[np.int64], leads: Array, seed: int, most: int) -> NDArray[np.int64]:
    """Pick so many rows, given their trials: of those that lead, and of others, whole trials, by chance."""
    if len(trials) <= most:
        return np.arange(len(trials))
    chosen = np.argsort(-leads, kind="stable")[: int(LEADING * most)].tolist()
    taken = set(chosen)
    left = [i for i in range(len(trials)) if i not in taken]
    others = sorted({int(trials[i]) for i in left}, key=lambda trial: chance.uniform(seed, "trial", trial))
    place = {trial: n for n, trial in enumerate(others)}
    left.sort(key=lambda i: (place[int(trials[i])], i))
    return np.array([*chosen, *left[: most - len(chosen)]], dtype=np.int64)


def _reach(rows: Rows) -> Array:
    """Tell for each row how far its trial got."""
    _, trial = np.unique(rows.trial, return_inverse=True)
    furthest = np.zeros(len(rows))
    np.maximum.at(furthest, trial, rows.s)
    return furthest[trial]


def _standing(rows: Rows, values: Array) -> Array:
    """Tell for each row how its trial stands: minus the share of those that came to its newest rung and are ahead."""
    behind = np.zeros(len(rows))
    for s in np.unique(rows.s):
        at = rows.s == s
        behind[at] = ranks(-values[at]) / at.sum()
    newest = {int(trial): i for i, trial in enumerate(rows.trial)}  # a trial's rows go up
    return np.array([-behind[newest[int(trial)]] for trial in rows.trial])
