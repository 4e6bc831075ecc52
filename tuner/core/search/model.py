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
from tuner.core.search.seen import Seen, scaled

STARTUP = 16
"""Rows that are seen before the first fit."""
REFIT = 1.5
"""A fit follows whenever there are so many times the rows of the last one."""
LAG = 4
"""A fit is used so many rows after the last that it has seen: meanwhile it is computed."""
LAG_SHARE = 20
"""Or a twentieth of the rows after it, where that is more: it takes the longer, the more there are."""
MOST_FITTED = 160
"""Rows that a fit looks at."""
FURTHEST = 0.6
"""The share of them that comes from those that got furthest; the others are whole trials by chance."""

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
        self._rows_fitted = 0
        self._take_at = 0
        self._changed: set[int] = set()
        """Columns that were put since the fit that is under way has begun."""

    @property
    def is_ready(self) -> bool:
        """Tell whether it expects anything yet."""
        return self._posterior is not None

    def open(self, trial: int, x: Array, epoch: int) -> None:
        """Begin a row: a trial, at a point, is on its way to an epoch."""
        place = Rows(x[None], scaled(np.array([float(epoch)]), self.last), np.array([trial], dtype=np.int64))
        expected = 0.0
        if self._posterior is not None:
            expected = self._posterior.mean_at(place, self.seen.values()[0])
            self._posterior.append(place)
        self.seen.open(trial, x, epoch, expected)

    def learn(self, rows: Sequence[tuple[int, Array, int, float]]) -> None:
        """Take in complete rows (trial, point, epoch, score)."""
        for trial, x, epoch, score in rows:
            self.seen.open(trial, x, epoch, 0.0)
            self.seen.close(trial, score)

    def fit_now(self) -> None:
        """Fit what was learned, and use it from the first trial on, if it is enough for a fit."""
        if self.seen.complete >= self._next:
            self._begin()
            assert self._job is not None
            self._take(self._job)

    def close(self, trial: int, score: float) -> None:
        """Take in what a trial showed where its row is: higher is better, minus infinity where it failed."""
        self.seen.close(trial, score)
        if self._job is not None and self.seen.complete >= self._take_at:
            self._take(self._job)
        if self._job is None and self.seen.complete >= self._next:
            self._begin()

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
        return Expected(self._posterior.means(values), self._posterior.deviations(), float(values[done].max()))

    def rescale(self, last: int) -> None:
        """Take on another last epoch; the fit that is under way is dropped."""
        self.last, self._job = last, None
        if self._posterior is not None:
            self._posterior = Posterior(self._posterior.kernel, self.seen.rows(last), self.columns)

    def _begin(self) -> None:
        values, done = self.seen.values()
        complete, rows, columns = np.flatnonzero(done), self.seen.rows(self.last), self.columns
        picked = _telling(rows, complete, chance.integer(self.seed, "fit", len(complete)))
        numbers, group = self._numbers, self.group

        @ONE_THREAD
        def job() -> Fitted:
            found = joint.fit(rows.part(picked), values[picked], group, numbers)
            return found, Posterior(joint.unpack(found, group), rows, columns)

        self._rows_fitted, self._take_at = len(rows), self.seen.complete + max(LAG, self.seen.complete // LAG_SHARE)
        self._next = math.ceil(self.seen.complete * REFIT)
        self._changed.clear()
        self._job = self.later(job)

    def _take(self, job: Job) -> None:
        self._numbers, self._posterior = job()
        self._job = None
        self._posterior.append(self.seen.rows(self.last, self._rows_fitted))
        if self._changed:
            places = np.array(sorted(self._changed), dtype=np.int64)
            self._posterior.put(places, self.columns.part(places))


def _telling(rows: Rows, complete: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Pick the rows that a fit looks at: those that got furthest, and whole trials by chance."""
    if len(complete) <= MOST_FITTED:
        return complete
    furthest = {int(trial): 0.0 for trial in rows.trial[complete]}
    for i in complete:
        furthest[int(rows.trial[i])] = max(furthest[int(rows.trial[i])], float(rows.s[i]))
    reach = np.array([furthest[int(trial)] for trial in rows.trial[complete]])
    chosen = complete[np.argsort(-reach, kind="stable")][: int(FURTHEST * MOST_FITTED)].tolist()
    left = [i for i in complete.tolist() if i not in set(chosen)]
    others = sorted({int(rows.trial[i]) for i in left}, key=lambda trial: chance.uniform(seed, "trial", trial))
    place = {trial: n for n, trial in enumerate(others)}
    left.sort(key=lambda i: (place[int(rows.trial[i])], i))
    return np.array([*chosen, *left[: MOST_FITTED - len(chosen)]], dtype=np.int64)
