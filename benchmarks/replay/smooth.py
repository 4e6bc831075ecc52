"""The recorded tables with something between their configs: what is suggested runs as itself, not as a neighbour.

A thin-plate spline (Duchon 1977) goes through all configs of a table, so a config has the curve that was recorded, and
others lie smoothly between. It goes through standard scores, by ranks over all values of the table: two values are as
far apart as there are recorded ones between them. What would be better than any recorded value counts as the best one.
A spline smooths: where every fourth config of a table diverges, but one in ten does between them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.special import ndtri
from scipy.stats import rankdata

from benchmarks.replay.tables import SMOOTH, Task


def tasks(recorded: list[Task]) -> list[Task]:
    """Make one of each recorded task."""
    return [replace(task, family=task.family + SMOOTH, seconds=None, formula=Between(task)) for task in recorded]


class Between:
    """Computes curves [n, epochs] of points [n, params]; what it needs is made at the first call."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, points: np.ndarray) -> np.ndarray:
        scores, curves = self._spline(points), np.full((len(points), self.task.epochs), np.nan)
        known, values = self._scale
        lives = np.logical_and.accumulate(scores > self._diverged, axis=1)
        curves[lives] = np.interp(scores[lives], known, values)
        return curves

    @cached_property
    def _scores(self) -> np.ndarray:
        """The standard score of each value of the table: higher is better, those that diverged are behind and equal."""
        good = self.task.values if self.task.mode == "max" else -self.task.values
        good = np.where(np.isnan(good), -np.inf, good)
        return np.asarray(ndtri((rankdata(good).reshape(good.shape) - 0.5) / good.size))

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores that rise, and the value of each."""
        finite = np.isfinite(self.task.values)
        scores, first = np.unique(self._scores[finite], return_index=True)
        return scores, self.task.values[finite][first]

    @cached_property
    def _diverged(self) -> float:
        """The score below which a value is none: half way to those that diverged."""
        worst = float(self._scale[0][0])
        return (worst + float(self._scores.min())) / 2 if np.isnan(self.task.values).any() else -np.inf

    @cached_property
    def _spline(self) -> RBFInterpolator:
        return RBFInterpolator(self.task.points, self._scores, kernel="thin_plate_spline")
