"""From cells to figures: interquartile means with bootstrap intervals, means over tasks, who needs how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.replay.trace import POINTS

Line = dict[str, Any]
Regrets = Mapping[str, np.ndarray]
"""Task → regret [seeds, points]: of one method."""
SHOWN = (5, 10, 25, 50)
RESAMPLES = 1000


def regrets(lines: list[Line], what: str = "regret") -> dict[str, np.ndarray]:
    """Gather the regret of one method by task, up to its largest budget; runs with a smaller one are left out.

    A run that ended within its budget, since it had begun every config of the table, stays at what it found.
    With `missed`: the part of it that lies in what was never begun, of the runs that kept it.
    """
    lines = [line for line in lines if what in line]
    count = max((len(line[what]) for line in lines), default=0)
    found: dict[str, list[list[float]]] = defaultdict(list)
    for line in lines:
        if count and line["budget"] >= POINTS[count - 1]:
            found[line["task"]].append(line[what] + line[what][-1:] * (count - len(line[what])))
    return {task: np.array(rows) for task, rows in sorted(found.items())}


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Average the middle half along the last axis; where a quarter is no whole number, the ends count in part."""
    ordered, count = np.sort(values, axis=-1), values.shape[-1]
    weights = np.clip(np.minimum(np.arange(1, count + 1), count - np.arange(count)) - count / 4, 0, 1)
    return np.asarray((ordered * weights).sum(axis=-1) / weights.sum())


def iqm(found: Regrets, point: int, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Give the interquartile mean over all runs at a point, and the ends of its 95 % interval.

    For each sample of the bootstrap the seeds are drawn anew within each task.
    """
    columns = [rows[:, point] for rows in found.values()]
    random = np.random.default_rng(0)
    drawn = [column[random.integers(len(column), size=(resamples, len(column)))] for column in columns]
    low, high = np.percentile(interquartile_mean(np.concatenate(drawn, axis=1)), (2.5, 97.5))
    return float(interquartile_mean(np.concatenate(columns))), float(low), float(high)


def points(found: Regrets) -> int:
    """Count the points that a method got to."""
    return min(rows.shape[1] for rows in found.values())


def mean(found: Regrets, point: int) -> tuple[float, float]:
    """Give the mean over tasks of the mean over seeds, and its standard error over seeds."""
    means = [rows[:, point].mean() for rows in found.values()]
    errors = [error(rows[:, point]) for rows in found.values()]
    return float(np.mean(means)), float(np.sqrt(np.square(errors).sum()) / len(errors))


def curve(found: Regrets) -> np.ndarray:
    """Give the mean over tasks at each point that a method got to."""
    return np.array([mean(found, point)[0] for point in range(points(found))])


def error(values: np.ndarray) -> float:
    """Give the standard error of a mean; not known from one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def worse(found: np.ndarray, than: np.ndarray, point: int) -> bool:
    """Tell whether one method is worse than another on a task by more than two standard errors of the difference."""
    gap = found[:, point].mean() - than[:, point].mean()
    return bool(gap > 2 * np.hypot(error(found[:, point]), error(than[:, point])))


def needed(curve: np.ndarray, aim: float) -> float | None:
    """Find the first budget at which a curve over POINTS is at an aim; None where it is not."""
    reached = np.flatnonzero(curve <= aim)
    return POINTS[reached[0]] if len(reached) else None


def cost(lines: list[Line]) -> tuple[float, float, float, float]:
    """Give CPU milliseconds a suggestion, and a decision; suggestions a run; the share of the workers' time idle."""
    cpu, suggestions, decisions = (sum(line[key] for line in lines) for key in ("cpu", "suggestions", "decisions"))
    idle = sum(line["idle"] for line in lines) / len(lines)
    return 1000 * cpu / suggestions, 1000 * cpu / decisions, suggestions / len(lines), idle
