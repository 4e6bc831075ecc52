"""Curves made to mislead whoever judges by the first epochs, or by the first good region: 1,000 configs each.

They are drawn, not recorded: from formulas of five params in [0, 1], with a seed. A method that is worse than random
search on one of them has got stuck.
"""

from __future__ import annotations

import numpy as np

from benchmarks.replay.tables import Axis, Task

CONFIGS, PARAMS, EPOCHS = 1000, 5, 50
FAMILY = "misleading"


def tasks() -> list[Task]:
    """Draw all of them."""
    dice = np.random.default_rng(0)
    x = dice.random((CONFIGS, PARAMS))
    t = np.arange(1, EPOCHS + 1) / EPOCHS
    noise = dice.standard_normal((CONFIGS, EPOCHS))
    bowl = _away(x, (0.7, 0.3, 0.5, 0.5, 0.5), (1.0, 1.0, 0.5, 0.2, 0.1))
    curves = {
        "crossing": _crossing(bowl, t),
        "plateau": _plateau(x, bowl, t, noise),
        "narrow": _narrow(x, t, noise),
        "noise": bowl + 0.5 * np.exp(-t / 0.2) + 0.25 * noise,
        "diverging": _diverging(x, t, noise, dice),
        "late": _late(x, bowl, t, noise),
    }
    axes = tuple(Axis(f"p{i}", 0.0, 1.0, log=False, whole=False) for i in range(PARAMS))
    return [Task(FAMILY, name, axes, x, values, "min", float("nan"), None) for name, values in curves.items()]


def _away(x: np.ndarray, aims: tuple[float, ...], weights: tuple[float, ...]) -> np.ndarray:
    """Measure the squared distance from a point; [configs, 1]."""
    return np.asarray((((x - np.array(aims)) ** 2) * np.array(weights)).sum(axis=1)[:, None])


def _crossing(bowl: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whoever learns fastest ends worst: the order of the first epochs is turned round."""
    end = bowl / bowl.max()
    return np.asarray(0.5 * end + np.exp(-t / (0.03 + 0.6 * (1 - end))))


def _plateau(x: np.ndarray, bowl: np.ndarray, t: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Six in ten look alike after an epoch, and only the last third tells which of all leave the plateau."""
    leaves = np.maximum(0.0, 0.4 - bowl) / 0.4 / (1 + np.exp(-20 * (t - 0.6)))
    early = 0.5 * (x[:, 2:3] > 0.4) * (1 - np.exp(-t / 0.02))
    return np.asarray(1 - early - 0.5 * leaves + 0.002 * noise)


def _narrow(x: np.ndarray, t: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """A wide region is good, and a narrow one far from it is better."""
    wide = 0.6 * np.exp(-_away(x, (0.25,) * 5, (1.0,) * 5) / 0.4)
    narrow = 0.9 * np.exp(-_away(x, (0.85, 0.85, 0.8, 0.5, 0.5), (1.0, 1.0, 1.0, 0.3, 0.3)) / 0.03)
    return np.asarray(1 - wide - narrow + 0.5 * np.exp(-t / 0.15) + 0.005 * noise)


def _diverging(x: np.ndarray, t: np.ndarray, noise: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """The best lie beside those that diverge, which more than a third do, at any epoch."""
    edge = x[:, :1] + 0.3 * x[:, 1:2]
    values = 1 - edge + 0.3 * np.exp(-t / 0.2) + 0.01 * noise
    for config in np.flatnonzero(edge[:, 0] > 0.75):
        values[config, dice.integers(0, EPOCHS) if dice.random() < 0.7 else 0 :] = np.nan
    return np.asarray(values)


def _late(x: np.ndarray, bowl: np.ndarray, t: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """One in five is far behind for two thirds of the training and ahead at its end."""
    good = 1 - 0.5 * bowl / bowl.max()
    slow, fast = 1.2 - 1.2 * t**2 * good, 0.9 - 0.5 * (1 - np.exp(-t / 0.05)) * good
    return np.asarray(np.where(x[:, 3:4] > 0.8, slow, fast) + 0.005 * noise)
