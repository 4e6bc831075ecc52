"""What the process expects of trials at their last epoch; more rows are appended in O(n²) each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack

from tuner.core.search.joint import JITTER, Array, Kernel, Rows

ROOM = 64
"""Rows and columns for which room is made at once."""


class Posterior:
    """Rows that were seen, and columns of which the last epoch is asked for.

    The inverse of the Cholesky factor is kept, and for each column its product with the covariances: what is then
    left for an answer is one product of a matrix and a vector.
    """

    def __init__(self, kernel: Kernel, rows: Rows, columns: Rows) -> None:
        self.kernel = kernel
        n, m = len(rows), len(columns)
        self.n, self.m = n, m
        self.rows, self.columns = rows.grown(n + ROOM), columns.grown(m + ROOM)
        self._inverse = np.zeros((n + ROOM, n + ROOM))
        self._parts = np.zeros((n + ROOM, m + ROOM))
        """Row i, column j: how much of column j row i explains beyond the rows before it."""
        if n:
            cov = kernel(rows, rows)
            cov[np.diag_indices(n)] += kernel.noise + JITTER
            self._inverse[:n, :n] = _inverse_factor(cov)
            self._parts[:n, :m] = self._inverse[:n, :n] @ kernel(rows, columns)
        self._variance = np.zeros(m + ROOM)
        self._variance[:m] = kernel.variance(columns.s) - (self._parts[:n, :m] ** 2).sum(0)

    def append(self, rows: Rows) -> None:
        """Take in more rows; their values are asked for with every answer."""
        if not len(rows):
            return
        n, m, end = self.n, self.m, self.n + len(rows)
        if end > len(self.rows):
            self._make_room_for_rows(end)
        along = self._inverse[:n, :n] @ self.kernel(self.rows.part(np.arange(n)), rows)
        left = self.kernel(rows, rows) - along.T @ along
        left[np.diag_indices(len(rows))] = np.maximum(left.diagonal() + self.kernel.noise + JITTER, JITTER)
        scale = _inverse_factor(left)
        self._inverse[n:end, :n] = -scale @ (along.T @ self._inverse[:n, :n])
        self._inverse[n:end, n:end] = scale
        new = scale @ (self.kernel(rows, self.columns.part(np.arange(m))) - along.T @ self._parts[:n, :m])
        self._parts[n:end, :m] = new
        self._variance[:m] -= (new**2).sum(0)
        self.rows.put(np.arange(n, end), rows)
        self.n = end

    def put(self, places: NDArray[np.int64], columns: Rows) -> None:
        """Put columns at places: over others, or right behind the last one."""
        n, end = self.n, int(places.max()) + 1
        if end > len(self.columns):
            self._make_room_for_columns(end)
        self.columns.put(places, columns)
        parts = self._inverse[:n, :n] @ self.kernel(self.rows.part(np.arange(n)), columns)
        self._parts[:n, places] = parts
        self._variance[places] = self.kernel.variance(columns.s) - (parts**2).sum(0)
        self.m = max(self.m, end)

    def means(self, y: Array) -> Array:
        """Compute the expected value of each column, where the rows have these values; (m,)."""
        return np.asarray((self._inverse[: self.n, : self.n] @ y) @ self._parts[: self.n, : self.m])

    def deviations(self) -> Array:
        """Compute the standard deviation of each column; (m,)."""
        return np.asarray(np.sqrt(np.maximum(self._variance[: self.m], 1e-6)))

    def mean_at(self, place: Rows, y: Array) -> float:
        """Compute the expected value at one place."""
        inverse = self._inverse[: self.n, : self.n]
        beside = self.kernel(self.rows.part(np.arange(self.n)), place)[:, 0]
        return float((inverse @ y) @ (inverse @ beside))

    def _make_room_for_rows(self, least: int) -> None:
        size = max(least, len(self.rows) + max(ROOM, len(self.rows) // 4))
        self.rows = self.rows.grown(size)
        inverse, parts = np.zeros((size, size)), np.zeros((size, self._parts.shape[1]))
        inverse[: self.n, : self.n] = self._inverse[: self.n, : self.n]
        parts[: self.n] = self._parts[: self.n]
        self._inverse, self._parts = inverse, parts

    def _make_room_for_columns(self, least: int) -> None:
        size = max(least, len(self.columns) + max(ROOM, len(self.columns) // 4))
        self.columns = self.columns.grown(size)
        parts = np.zeros((len(self._parts), size))
        parts[:, : self.m] = self._parts[:, : self.m]
        self._parts = parts
        self._variance = np.concatenate([self._variance, np.zeros(size - len(self._variance))])


def _inverse_factor(cov: Array) -> Array:
    """Invert the Cholesky factor of a covariance."""
    inverse, _ = lapack.dtrtri(cholesky(cov, lower=True, check_finite=False), lower=1)
    return np.asarray(inverse)
