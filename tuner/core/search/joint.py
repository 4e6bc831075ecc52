"""One Gaussian process over params and epochs (after Swersky et al. 2014, freeze-thaw), and how it is fitted.

A row is what one trial showed at one epoch. Its place is x, the params scaled to [0, 1], and s, the logarithm of the
epoch over that of the last one. With R and E a Matérn 5/2 over the params, each with lengths of its own,
T = exp(−|s − s′| / τ), and g = exp(−s / 0.2) − exp(−5), which is 0 at the last epoch:

k = R · (a1 + a2·T) + E · a3·g·g′ + [same trial] · (b1 + b2·T + b3·g·g′) + 0.5 + s·s′ + g·g′ + [same row] · noise

The first two parts say what trials with like params share, for other params may matter in the first epochs than in the
end; the third what is a trial's own, the rest how all of them go down with the epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, lapack, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

EARLY = 0.2
"""How fast what is special about the first epochs fades, in s."""
MEDIANS = (0.5, 0.3, 0.2, 0.1, 0.15, 0.05, 0.6, 0.01)
"""Where a1, a2, a3, b1, b2, b3, τ and the noise begin, and what a fit is drawn to."""
DEVIATIONS = (1.0, 1.0, 1.5, 1.0, 1.0, 1.5, 0.8, 1.2)
"""How far a fit may go from there, of the logarithm."""
LENGTH_DEVIATION = 0.8
OWN_TELLS, ALL_TELLS = 0.4, 0.75
"""The correlations from which on early epochs tell of the end. On a plateau neither is reached."""
STEPS = 25
JITTER = 1e-8


@dataclass(frozen=True)
class Rows:
    """Places of the process: x (n, d), s (n,), and the trial that each belongs to (n,)."""

    x: Array
    s: Array
    trial: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.s)

    def part(self, index: NDArray[np.int64]) -> Rows:
        """Pick some of them."""
        return Rows(self.x[index], self.s[index], self.trial[index])

    def grown(self, size: int) -> Rows:
        """Give a copy with room for so many; the new ones are nobody's until they are put."""
        bigger = Rows(np.zeros((size, self.x.shape[1])), np.ones(size), np.full(size, -1, dtype=np.int64))
        bigger.put(np.arange(len(self)), self)
        return bigger

    def put(self, places: NDArray[np.int64], new: Rows) -> None:
        """Put rows at places."""
        self.x[places], self.s[places], self.trial[places] = new.x, new.s, new.trial


@dataclass(frozen=True)
class Kernel:
    """The covariance with all its numbers; of the lengths, those of R and those of E, there is one for each column."""

    lengths: Array
    early_lengths: Array
    shared: tuple[float, float, float]
    own: tuple[float, float, float]
    tau: float
    noise: float

    @property
    def tells_early(self) -> bool:
        """Tell whether what is seen of trials at √(last epoch) tells of the end, noise included.

        What a trial shows of its own there correlates with what it shows at the end, or all that it shows does, where
        params tell most.
        """
        gap = math.exp(-0.5 / self.tau)
        own, shared = self.own[0] + self.own[1], self.shared[0] + self.shared[1]
        own_lasts, shared_lasts = self.own[0] + self.own[1] * gap, self.shared[0] + self.shared[1] * gap
        if own_lasts >= OWN_TELLS * (own + self.noise):
            return True
        return own_lasts + shared_lasts >= ALL_TELLS * (own + shared + self.noise)

    def __call__(self, left: Rows, right: Rows) -> Array:
        """Compute the covariances between two sets of places, without the noise; (n, m)."""
        gap = np.exp(-np.abs(left.s[:, None] - right.s[None, :]) / self.tau)
        early = fading(left.s)[:, None] * fading(right.s)[None, :]
        shared = matern(left.x / self.lengths, right.x / self.lengths) * (self.shared[0] + self.shared[1] * gap)
        if early.any():  # not where all of one side is at the last epoch: most of what is asked
            shared += matern(left.x / self.early_lengths, right.x / self.early_lengths) * (self.shared[2] * early)
        own = (left.trial[:, None] == right.trial[None, :]) * _mix(self.own, gap, early)
        return np.asarray(shared + own + trend(left.s, right.s, early))

    def variance(self, s: Array) -> Array:
        """Compute the prior variances at places, without the noise; (n,)."""
        early = fading(s) ** 2
        return np.asarray(_mix(self.shared, 1.0, early) + _mix(self.own, 1.0, early) + 0.5 + s * s + early)


def fading(s: Array) -> Array:
    """Compute g: how much is left, at places, of what is special about the first epochs; (n,)."""
    return np.asarray(np.maximum(np.exp(-s / EARLY) - np.exp(-1 / EARLY), 0.0))


def matern(left: Array, right: Array) -> Array:
    """Compute Matérn 5/2 between points that are divided by their lengths; (n, m)."""
    square = (left * left).sum(1)[:, None] + (right * right).sum(1)[None, :] - 2 * left @ right.T
    r = np.sqrt(5 * np.maximum(square, 0.0))
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


def trend(left: Array, right: Array, early: Array) -> Array:
    """Compute what all trials share, whatever their params; (n, m)."""
    return np.asarray(0.5 + left[:, None] * right[None, :] + early)


def _mix(weights: tuple[float, float, float], gap: Array | float, early: Array) -> Array:
    return np.asarray(weights[0] + weights[1] * gap + weights[2] * early)


def unpack(numbers: Array, group: NDArray[np.int64]) -> Kernel:
    """Build the kernel from the logarithms of its numbers: lengths of each group of columns, then as in MEDIANS."""
    count = groups_of(numbers)
    a1, a2, a3, b1, b2, b3, tau, noise = (float(n) for n in np.exp(numbers[2 * count :]))
    lengths, early_lengths = np.exp(numbers[: 2 * count]).reshape(2, count)[:, group]
    return Kernel(lengths, early_lengths, (a1, a2, a3), (b1, b2, b3), tau, noise)


def start(groups: int) -> Array:
    """Give the logarithms with which a fit begins, for so many groups of columns."""
    return np.asarray(np.log(np.array([0.4 * math.sqrt(groups)] * (2 * groups) + list(MEDIANS))))


def groups_of(numbers: Array) -> int:
    """Tell for how many groups of columns they are."""
    return (len(numbers) - len(MEDIANS)) // 2


def fit(rows: Rows, y: Array, group: NDArray[np.int64], numbers: Array) -> Array:
    """Find the numbers that are most likely after all (MAP), from a start; all as logarithms.

    `group` (d,) tells which columns of x share a length. Costs some 5 ms a step at 160 rows.
    """
    objective = _Evidence(rows, y, group)
    bounds = [(n - 5, n + 5) for n in start(groups_of(numbers))]
    found = minimize(objective, numbers, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return np.asarray(found.x)


class _Evidence:
    """Minus the log of the posterior density of the kernel's numbers, and its gradient."""

    def __init__(self, rows: Rows, y: Array, group: NDArray[np.int64]) -> None:
        self.y, self.group = y, group
        self.count = int(group.max()) + 1
        apart = (rows.x[:, None, :] - rows.x[None, :, :]) ** 2
        self.squares = np.stack([apart[:, :, group == g].sum(2) for g in range(self.count)])
        self.distance = np.abs(rows.s[:, None] - rows.s[None, :])
        early = fading(rows.s)
        self.early = early[:, None] * early[None, :]
        self.same = (rows.trial[:, None] == rows.trial[None, :]).astype(float)
        self.trend = trend(rows.s, rows.s, self.early)
        self.median = start(self.count)
        self.deviation = np.array([LENGTH_DEVIATION] * (2 * self.count) + list(DEVIATIONS))

    def __call__(self, numbers: Array) -> tuple[float, Array]:
        kernel = unpack(numbers, np.arange(self.count))
        gap = np.exp(-self.distance / kernel.tau)
        late = _Alike(self.squares, kernel.lengths, kernel.shared[0] + kernel.shared[1] * gap)
        first = _Alike(self.squares, kernel.early_lengths, kernel.shared[2] * self.early)
        cov = late.part + first.part + self.same * _mix(kernel.own, gap, self.early) + self.trend
        cov[np.diag_indices_from(cov)] += kernel.noise + JITTER
        try:
            factor = cholesky(cov, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(numbers)
        alpha = solve_triangular(factor, self.y, lower=True, check_finite=False)
        alpha = solve_triangular(factor, alpha, lower=True, trans=1, check_finite=False)
        away = (numbers - self.median) / self.deviation
        value = 0.5 * self.y @ alpha + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(value), self._slope(kernel, factor, alpha, late, first, gap) + away / self.deviation

    def _slope(self, kernel: Kernel, factor: Array, alpha: Array, late: _Alike, first: _Alike, gap: Array) -> Array:
        """Compute the gradient of the evidence's part: half the trace of (K⁻¹ − α αᵀ) · dK for each number."""
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        (a1, a2, _), (b1, b2, b3) = kernel.shared, kernel.own
        late_w, same_w = weight * late.alike, weight * self.same
        by_tau = gap * self.distance / kernel.tau
        rest = [
            a1 * late_w.sum(), a2 * (late_w * gap).sum(), (weight * first.part).sum(),
            b1 * same_w.sum(), b2 * (same_w * gap).sum(), b3 * (same_w * self.early).sum(),
            ((a2 * late_w + b2 * same_w) * by_tau).sum(), kernel.noise * np.trace(weight),
        ]  # fmt: skip
        return np.concatenate([late.slopes(weight), first.slopes(weight), rest])


class _Alike:
    """A part of the covariance: how alike params are, by lengths of its own, times what that weighs; (n, n) each."""

    def __init__(self, squares: Array, lengths: Array, weighs: Array) -> None:
        self._squares = squares / (lengths**2)[:, None, None]
        r = np.sqrt(5 * self._squares.sum(0))
        decay = np.exp(-r)
        self.alike = (1 + r + r * r / 3) * decay
        self.part = self.alike * weighs
        self._by_length = (5 / 3) * (1 + r) * decay * weighs

    def slopes(self, weight: Array) -> Array:
        """Compute the gradient by the logarithm of each length."""
        return np.asarray(np.tensordot(self._squares, weight * self._by_length, axes=([1, 2], [0, 1])))
