"""What a model has seen of trials: a row for each rung that one came to, or is on its way to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tuner.core.search.joint import Array, Rows


class Seen:
    """Rows in the order in which they were begun. One that is still to come holds what is expected of it."""

    def __init__(self) -> None:
        self.x: list[Array] = []
        self.epochs: list[int] = []
        self.trial: list[int] = []
        self._score: list[float] = []
        """NaN for one that is still to come."""
        self._expected: list[float] = []
        self.complete = 0
        self._open: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.epochs)

    def open(self, trial: int, x: Array, epoch: int, expected: float) -> None:
        """Begin the row of a trial on its way to an epoch; `expected` is a standard score."""
        self._open[trial] = len(self)
        self.x.append(x)
        self.epochs.append(epoch)
        self.trial.append(trial)
        self._score.append(math.nan)
        self._expected.append(expected)

    def close(self, trial: int, score: float) -> None:
        """Take in what the trial showed there; minus infinity where it failed."""
        self._score[self._open.pop(trial)] = score
        self.complete += 1

    @contextmanager
    def supposing(self, trial: int, score: float) -> Iterator[None]:
        """Suppose for a moment that the trial's row is closed with this score."""
        row = self._open[trial]
        self._score[row], self.complete = score, self.complete + 1
        try:
            yield
        finally:
            self._score[row], self.complete = math.nan, self.complete - 1

    def is_open(self, trial: int) -> bool:
        """Tell whether a trial has a row that is still to come."""
        return trial in self._open

    def rows(self, last: int, which: Sequence[int]) -> Rows:
        """Give the places of some of them, where `last` is the last epoch."""
        epochs = np.array([self.epochs[i] for i in which], dtype=np.float64)
        trials = np.array([self.trial[i] for i in which], dtype=np.int64)
        return Rows(np.array([self.x[i] for i in which]), scaled(epochs, last), trials)

    def values(self) -> tuple[Array, NDArray[np.bool_]]:
        """Give their standard scores, by ranks over all rows that are complete, and which those are; (n,) each.

        Rows of all rungs are ranked together; those that failed share the mean rank of their block.
        """
        score = np.array(self._score)
        done = ~np.isnan(score)
        values = np.array(self._expected)
        if self.complete:
            values[done] = ndtri((ranks(score[done]) - 0.5) / self.complete)
        return values, done


def scaled(epochs: Array, last: int) -> Array:
    """Put epochs on a logarithmic scale from 0 to 1, the last one."""
    return np.asarray(np.log(epochs) / math.log(last)) if last > 1 else np.ones_like(epochs)


def ranks(values: Array) -> Array:
    """Rank values from 1 up; equal ones share the mean of their ranks, as scipy.stats does, whose import is slow."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[place])
