"""What one run of a method leaves: its regret over the budget, its CPU time, how long workers were idle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.replay.tables import Task

POINTS = (
    0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22.5, 25, 27.5, 30, 35, 40, 45, 50,
)  # fmt: skip
"""At which budgets the regret is kept, in full trainings: epochs of all workers together / epochs of one training."""
WORKERS = 8


@dataclass(frozen=True)
class Terms:
    """Under which terms a method runs."""

    seed: int
    budget: float
    """Full trainings."""
    workers: int = WORKERS
    seconds: bool = False
    """An epoch takes the table's seconds on the virtual clock, where they are known, not 1."""

    def cost(self, task: Task, row: int, epoch: int) -> float:
        """Tell what an epoch takes on the virtual clock."""
        return float(task.seconds[row, epoch - 1]) if self.seconds and task.seconds is not None else 1.0

    def epochs(self, task: Task) -> int:
        """Tell how many epochs all trials may train together."""
        return round(self.budget * task.epochs)


@dataclass
class Trace:
    """Takes in what happens, in the order of the virtual clock."""

    task: Task
    terms: Terms
    reports: int = 0
    suggestions: int = 0
    """New trials."""
    decisions: int = 0
    """Answers to a free worker: new trials and trials that went on."""
    cpu: float = 0.0
    """CPU seconds of the method itself, over all its threads."""
    idle: float = 0.0
    """Worker time without work, on the virtual clock."""
    clock: float = 0.0
    best: float | None = None
    regret: list[float] = field(default_factory=list)
    loss: float = np.inf
    """The best value that any trial begun would have if it were trained to the end; less is better."""
    missed: list[float] = field(default_factory=list)
    """The regret of that: what even a perfect choice of who is trained on could not make good."""

    @property
    def over(self) -> bool:
        """Tell whether the budget is used up."""
        return self.reports >= self.terms.epochs(self.task)

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Count what happens inside as the method's own CPU time."""
        began = time.process_time()
        yield
        self.cpu += time.process_time() - began

    def passed(self, moment: float, busy: int) -> None:
        """Let the clock go on to a moment; until then so many workers had work."""
        self.idle += (moment - self.clock) * (self.terms.workers - busy)
        self.clock = moment

    def began(self, loss: float) -> None:
        """Take in a new trial, and the best value that it would have at its end; less is better."""
        self.suggestions += 1
        self.loss = min(self.loss, loss)

    def saw(self, value: float) -> None:
        """Take in a report."""
        self.reports += 1
        if np.isfinite(value) and (
            self.best is None or (value < self.best if self.task.mode == "min" else value > self.best)
        ):
            self.best = float(value)
        for point in POINTS[len(self.regret) :]:
            if self.reports < round(point * self.task.epochs):
                break
            self.regret.append(self.task.regret(self.best))
            self.missed.append(self.task.regret(self._attainable()))

    def _attainable(self) -> float | None:
        if np.isinf(self.loss):
            return None
        return self.loss if self.task.mode == "min" else -self.loss

    def line(self, method: str) -> dict[str, Any]:
        """Give all of it as one small line."""
        return {
            "method": method,
            "family": self.task.family,
            "task": self.task.name,
            "seed": self.terms.seed,
            "budget": self.terms.budget,
            "workers": self.terms.workers,
            "seconds": self.terms.seconds,
            "regret": [float(f"{one:.4g}") for one in self.regret],
            "missed": [float(f"{one:.4g}") for one in self.missed],
            "reports": self.reports,
            "suggestions": self.suggestions,
            "decisions": self.decisions,
            "cpu": round(self.cpu, 3),
            "idle": round(self.idle / max(self.clock * self.terms.workers, 1e-9), 4),
        }
