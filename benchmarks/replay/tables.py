"""Recorded learning curves: every config of a table was trained once, and its curve stands for training it again.

A folder of tables has one folder a family, and in it files `*.npz` with `tasks`, `hp_names`, `hp` [configs, params] and
the curves [tasks, configs, epochs]: `valid_loss` (less is better; index 0 is the untrained model) or `val_accuracy`,
and `time_s` (seconds from the start to the end of each epoch) where that is known. No dependency but numpy and scipy,
since a peer may live in an environment of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

SMOOTH = "-smooth"
"""What the family of a table ends with that has curves between its configs, too (`smooth.py`)."""


@dataclass(frozen=True)
class Axis:
    """One param of a table's space: its bounds are the least and the greatest value of the table."""

    name: str
    low: float
    high: float
    log: bool
    whole: bool

    @classmethod
    def of(cls, name: str, column: np.ndarray) -> Axis:
        """Read the bounds, whether the axis is logarithmic, and whether all values are whole, from a column.

        Configs were drawn evenly along an axis. So it is logarithmic where the median lies nearer the middle by logs.
        """
        low, middle, high = (float(value) for value in np.quantile(column, (0, 0.5, 1)))
        log = low > 0 and _off_middle(*map(math.log, (low, middle, high))) < _off_middle(low, middle, high)
        return cls(name, low, high, log, whole=bool((column == np.round(column)).all()))

    def unit(self, values: Any) -> np.ndarray:
        """Scale values to [0, 1], on the log axis where the axis is one."""
        low, high = (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)
        numbers = np.asarray(values, dtype=float)
        return ((np.log(numbers) if self.log else numbers) - low) / ((high - low) or 1.0)

    def value(self, number: float) -> float | int:
        """Give a value its type."""
        return int(number) if self.whole else float(number)


@dataclass(frozen=True)
class Task:
    """One table: the curves of its configs on one problem."""

    family: str
    name: str
    axes: tuple[Axis, ...]
    hp: np.ndarray
    """The configs [configs, params]."""
    values: np.ndarray
    """What is reported [configs, epochs]; NaN from the epoch on at which a config diverged."""
    mode: Literal["min", "max"]
    guess: float
    """What an untrained model has; NaN where that was not recorded."""
    seconds: np.ndarray | None
    """What each epoch took [configs, epochs], where it was recorded."""
    formula: Callable[[np.ndarray], np.ndarray] | None = None
    """Where any params have a curve, and not the configs alone: computes those [n, epochs] of points [n, params]."""

    @property
    def epochs(self) -> int:
        """The epochs of one full training."""
        return int(self.values.shape[1])

    @property
    def configs(self) -> int:
        """How many configs there are."""
        return len(self.hp)

    @cached_property
    def points(self) -> np.ndarray:
        """The configs with each param scaled to [0, 1]."""
        return np.stack([axis.unit(column) for axis, column in zip(self.axes, self.hp.T, strict=True)], axis=1)

    @cached_property
    def losses(self) -> np.ndarray:
        """Each config's best value over all epochs, less is better; infinite where it never had one."""
        return self.best_of(self.values)

    def best_of(self, values: np.ndarray) -> np.ndarray:
        """Find the best value of each curve, less is better; infinite where it never had one."""
        losses = values if self.mode == "min" else -values
        return np.asarray(np.where(np.isnan(losses), np.inf, losses).min(axis=-1))

    def regret(self, best: float | None) -> float:
        """Tell how far a value is from the table's best, in units of the median config's distance from it.

        None, no value seen yet, counts as what an untrained model has, or else as the worst of the configs. What is
        better than the table, as where a formula draws any curve, counts as its best.
        """
        worst = self.losses[np.isfinite(self.losses)].max()
        lowest, middle = self.losses.min(), min(np.median(self.losses), worst)  # where most configs have no value
        if best is None:
            best = self.guess
        loss = best if self.mode == "min" else -best
        if np.isnan(loss):
            loss = worst
        return float(max(0.0, (loss - lowest) / (middle - lowest)))

    def params(self, row: int) -> dict[str, Any]:
        """Give a config by its names."""
        return self.named(self.hp[row])

    def named(self, numbers: np.ndarray) -> dict[str, Any]:
        """Give numbers by their names."""
        return {axis.name: axis.value(number) for axis, number in zip(self.axes, numbers, strict=True)}

    def point(self, params: Mapping[str, Any]) -> np.ndarray:
        """Scale params to [0, 1]."""
        return np.array([axis.unit(params[axis.name]) for axis in self.axes])

    def candidates(self) -> list[dict[str, Any]]:
        """Give all configs, for a method that chooses among them."""
        return [self.params(row) for row in range(self.configs)]


class Unused:
    """Hands out each config of a table once: the nearest to what was suggested that has not run yet."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._free = np.ones(task.configs, dtype=bool)

    @property
    def left(self) -> int:
        """Count the configs that have not run."""
        return int(self._free.sum())

    def meet(self, params: Mapping[str, Any]) -> int:
        """Find the row that stands for these params, and use it up."""
        if not self.left:
            raise LookupError(f"all {self.task.configs} configs of {self.task.name} have run")
        distance = ((self.task.points - self.task.point(params)) ** 2).sum(axis=1)
        return self.take(int(np.where(self._free, distance, np.inf).argmin()))

    def take(self, row: int) -> int:
        """Use a row up."""
        self._free[row] = False
        return row

    def value(self, row: int, epoch: int) -> float:
        """Look up what a trial reports."""
        return float(self.task.values[row, epoch - 1])

    def loss(self, row: int) -> float:
        """Look up the best value of a trial trained to the end, less is better."""
        return float(self.task.losses[row])

    def params(self, row: int) -> dict[str, Any]:
        """Give the params of a trial."""
        return self.task.params(row)


class Drawn(Unused):
    """Draws the curve of whatever is suggested: no trial stands for another one."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._curves: list[np.ndarray] = []
        self._params: list[dict[str, Any]] = []

    @property
    def left(self) -> int:
        """Count as many as there may be trials."""
        return self.task.configs - len(self._curves)

    def meet(self, params: Mapping[str, Any]) -> int:
        """Draw a curve."""
        assert self.task.formula is not None
        self._curves.append(self.task.formula(self.task.point(params)[None])[0])
        self._params.append(dict(params))
        return len(self._curves) - 1

    def value(self, row: int, epoch: int) -> float:
        return float(self._curves[row][epoch - 1])

    def loss(self, row: int) -> float:
        return float(self.task.best_of(self._curves[row]))

    def params(self, row: int) -> dict[str, Any]:
        return self._params[row]


def rows(task: Task, on_table: bool = False) -> Unused:
    """Give what trials of a task run as: configs of its table, or where it has a formula, whatever is suggested."""
    return Drawn(task) if task.formula is not None and not on_table else Unused(task)


def load(folder: Path, only: Sequence[str] = (), smooth: bool = False) -> list[Task]:
    """Read the tables below a folder; `only` names families, or tasks by a part of their name.

    The curves made to mislead are always among them, those between the recorded configs where `smooth` or `only` asks.
    """
    files = sorted(folder.glob("*/*.npz"))
    if not files:
        raise SystemExit(f"--data: must be a folder with FAMILY/*.npz in it, but got {folder}.")
    from benchmarks.replay import misleading  # which are made of what stands here
    from benchmarks.replay import smooth as between

    recorded = [task for file in files for task in _read(file)]
    tasks = [*recorded, *misleading.tasks()]
    if smooth or any(word.endswith(SMOOTH) for word in only):
        tasks += [task for task in between.tasks(recorded) if smooth or task.family in only]
    chosen = [t for t in tasks if not only or any(word == t.family or word in t.name for word in only)]
    if not chosen:
        raise SystemExit(f"--tasks: must name some of {', '.join(t.name for t in tasks)}, but got {', '.join(only)}.")
    return chosen


def _read(file: Path) -> list[Task]:
    with np.load(file) as data:
        arrays = {name: data[name] for name in data.files if name != "test_loss"}
    hp = arrays["hp"].astype(float)
    axes = tuple(Axis.of(str(name), column) for name, column in zip(arrays["hp_names"], hp.T, strict=True))
    is_loss = "valid_loss" in arrays
    if not is_loss and "val_accuracy" not in arrays:
        raise SystemExit(f"{file}: must hold valid_loss or val_accuracy, but got {', '.join(arrays)}.")
    curves = arrays["valid_loss" if is_loss else "val_accuracy"].astype(float)
    tasks = []
    for place, name in enumerate(arrays["tasks"]):
        values = curves[place, :, 1:] if is_loss else curves[place]
        times = arrays["time_s"][place].astype(float) if "time_s" in arrays else None
        tasks.append(
            Task(
                family=file.parent.name,
                name=str(name),
                axes=axes,
                hp=hp,
                values=_reachable(values),
                mode="min" if is_loss else "max",
                guess=float(np.nanmedian(curves[place, :, 0])) if is_loss else float("nan"),
                # They were kept in half precision: two epochs may seem to end at one moment.
                seconds=None if times is None else np.maximum(np.diff(times, axis=1, prepend=0.0), 1e-3),
            )
        )
    return tasks


def _off_middle(low: float, value: float, high: float) -> float:
    return abs((value - low) / ((high - low) or 1.0) - 0.5)


def _reachable(values: np.ndarray) -> np.ndarray:
    """Take away what came after a NaN: a trial ends there."""
    finite = np.isfinite(values)
    return np.where(np.logical_and.accumulate(finite, axis=1), values, np.nan)
