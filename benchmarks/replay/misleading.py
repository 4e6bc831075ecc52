"""Curves made to mislead whoever judges by the first epochs, or by the first good region.

They are drawn, not recorded: by formulas of five params in [0, 1]. Whatever a search suggests has a curve of its own; a
table of 1,000 random configs says what is good, and is there for who chooses among a table's. A method that is worse
than random search on one of them has got stuck.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.replay.tables import Axis, Task

CONFIGS, PARAMS, EPOCHS = 1000, 5, 50
FAMILY = "misleading"
WEIGHTS = np.array([1.0, 1.0, 0.5, 0.2, 0.1])
FARTHEST = 1.18
"""The greatest distance from the bottom of the bowl that there is."""
T = np.arange(1, EPOCHS + 1) / EPOCHS


def tasks() -> list[Task]:
    """Draw all of them."""
    x = np.random.default_rng(0).random((CONFIGS, PARAMS))
    axes = tuple(Axis(f"p{i}", 0.0, 1.0, log=False, whole=False) for i in range(PARAMS))
    return [
        Task(FAMILY, curve.__name__.strip("_"), axes, x, curve(x), "min", float("nan"), None, curve) for curve in CURVES
    ]


def _bowl(x: np.ndarray) -> np.ndarray:
    return _away(x, (0.7, 0.3, 0.5, 0.5, 0.5), WEIGHTS)


def _away(x: np.ndarray, aims: tuple[float, ...], weights: np.ndarray) -> np.ndarray:
    """Measure the squared distance from a point; [configs, 1]."""
    return np.asarray((((x - np.array(aims)) ** 2) * weights).sum(axis=1)[:, None])


def _dice(x: np.ndarray) -> list[np.random.Generator]:
    """Give each config dice of its own: the same config has the same noise."""
    return [np.random.default_rng(np.ascontiguousarray(one).view(np.uint32)) for one in x]


def _noise(x: np.ndarray) -> np.ndarray:
    return np.stack([dice.standard_normal(EPOCHS) for dice in _dice(x)])


def _crossing(x: np.ndarray) -> np.ndarray:
    """Whoever learns fastest ends worst: the order of the first epochs is turned round."""
    end = _bowl(x) / FARTHEST
    return np.asarray(0.5 * end + np.exp(-T / (0.03 + 0.6 * (1 - end))))


def _plateau(x: np.ndarray) -> np.ndarray:
    """Six in ten look alike after an epoch, and only the last third tells which of all leave the plateau."""
    leaves = np.maximum(0.0, 0.4 - _bowl(x)) / 0.4 / (1 + np.exp(-20 * (T - 0.6)))
    early = 0.5 * (x[:, 2:3] > 0.4) * (1 - np.exp(-T / 0.02))
    return np.asarray(1 - early - 0.5 * leaves + 0.002 * _noise(x))


def _narrow(x: np.ndarray) -> np.ndarray:
    """A wide region is good, and a narrow one far from it is better."""
    wide = 0.6 * np.exp(-_away(x, (0.25,) * 5, np.ones(5)) / 0.4)
    narrow = 0.9 * np.exp(-_away(x, (0.85, 0.85, 0.8, 0.5, 0.5), np.array([1.0, 1.0, 1.0, 0.3, 0.3])) / 0.03)
    return np.asarray(1 - wide - narrow + 0.5 * np.exp(-T / 0.15) + 0.005 * _noise(x))


def _noisy(x: np.ndarray) -> np.ndarray:
    """What two epochs of one config differ by is a fifth of what the best and the worst config do."""
    return np.asarray(_bowl(x) + 0.5 * np.exp(-T / 0.2) + 0.25 * _noise(x))


def _diverging(x: np.ndarray) -> np.ndarray:
    """The best lie beside those that diverge, which more than a third do, at any epoch."""
    edge = x[:, :1] + 0.3 * x[:, 1:2]
    values = 1 - edge + 0.3 * np.exp(-T / 0.2) + 0.01 * _noise(x)
    for curve, over, dice in zip(values, edge[:, 0] > 0.75, _dice(x), strict=True):
        if over:
            curve[dice.integers(0, EPOCHS) if dice.random() < 0.7 else 0 :] = np.nan
    return np.asarray(values)


def _late(x: np.ndarray) -> np.ndarray:
    """One in five is far behind for two thirds of the training and ahead at its end."""
    good = 1 - 0.5 * _bowl(x) / FARTHEST
    slow, fast = 1.2 - 1.2 * T**2 * good, 0.9 - 0.5 * (1 - np.exp(-T / 0.05)) * good
    return np.asarray(np.where(x[:, 3:4] > 0.8, slow, fast) + 0.005 * _noise(x))


CURVES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (_crossing, _plateau, _narrow, _noisy, _diverging, _late)
