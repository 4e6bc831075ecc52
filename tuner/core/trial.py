"""The state of one trial, as the records tell it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tuner.core import chance
from tuner.core.records import Cause, Clone, Given, Mark, Outcome, Report


@dataclass(slots=True)
class TrialState:
    """One trial, as the records tell it."""

    id: str
    number: int
    """Its place in the order of suggestions, from 0; that of the trial that it repeats."""
    params: dict[str, Any]
    choices: dict[str, int]
    of: str = ""
    """The trial that it repeats; empty for one of the search."""
    seed: int = 0
    """On which of the fresh seeds it repeats that, from 1."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """The params of the generations before this one."""
    status: Literal["running", "paused", "ended"] = "running"
    generation: int = 0
    since: int = 1
    """The session in which this generation began."""
    epoch: int = 0
    reports: list[Report] = field(default_factory=list)
    best: Report | None = None
    """Its best report with a finite value; the first of equals."""
    standing: tuple[float, ...] = (-math.inf, -math.inf)
    """That report's standing: minus the violation of the constraints, then its scores; the higher the better."""
    best_saved: Report | None = None
    """The best of those that have a checkpoint."""
    slowest: float = 0.0
    """The most seconds that any of its epochs took."""
    mark: Mark | None = None
    marked: Report | None = None
    """The report that came to that mark."""
    clone: Clone | None = None
    outcome: Outcome | None = None
    reason: str = ""
    error: str = ""
    parts: int = 1
    """In how many parts each batch is trained, for lack of memory."""
    least_gpus: float = 0.0
    """The share of a GPU that it needs at least: it ran out of memory with less."""
    given: Given | None = None
    """What it ran on last; None where that was not written down."""
    probed: int = 0
    """In how many parts its batches came when it was measured; 0 where it was not."""
    before: Literal["", "running", "paused"] = ""
    """What it was when the run closed, or when its trial was dropped, if it is a repeat: it may go on."""
    by_report: bool = False
    """Its end was decided on its last report: its function did not return by itself, and nothing else ended it."""
    losses: int = 0
    """All of them, so that every attempt has a name of its own."""
    in_a_row: Counter[Cause] = field(default_factory=Counter)
    """Losses since the last new report, by their cause."""

    def training_seed(self, seed: int) -> int:
        """Find what fixes its initial weights and the order of its data, in a run with this seed.

        The repeats of different trials on one fresh seed share it: what they share does not tell them apart.
        """
        if self.of:
            return chance.integer(seed, "confirm", self.seed)
        return chance.integer(seed, "trial", self.number)

    @property
    def score(self) -> float:
        """The score of its best report, of the first objective: higher is better."""
        return self.standing[1]

    @property
    def violation(self) -> float:
        """By how much its best report breaks the constraints; 0 where it breaks none."""
        return -self.standing[0]

    @property
    def breaks(self) -> bool:
        """Tell whether it was trained, and is infeasible since no report of it keeps the constraints."""
        return self.outcome == "infeasible" and self.violation > 0 and self.best is not None

    def keep_best(self, report: Report, standing: Callable[[Report], tuple[float, ...]]) -> None:
        """Take in a report whose value is finite: it may be its best."""
        if self.best is None or standing(report) > self.standing:
            self.best, self.standing = report, standing(report)
        if report.checkpoint and (self.best_saved is None or standing(report) > standing(self.best_saved)):
            self.best_saved = report

    def open(self, status: Literal["running", "paused"]) -> None:
        """Let it go on, or wait to."""
        self.status, self.outcome, self.reason, self.before = status, None, "", ""

    def end(self, outcome: Outcome, reason: str, error: str = "", by_report: bool = False) -> None:
        """End it."""
        self.status, self.outcome, self.reason, self.error = "ended", outcome, reason, error
        self.by_report = by_report

    def params_of(self, generation: int) -> dict[str, Any]:
        """Find the params of a generation: a clone changes them."""
        return [*self.earlier, self.params][generation]

    @property
    def may_go_on(self) -> bool:
        """Tell whether a larger budget would let this ended trial go on."""
        return bool(self.before) or self.outcome == "finished"

    @property
    def checkpoint(self) -> tuple[str | None, int]:
        """The newest checkpoint and its epoch; (None, 0) where it starts from nothing."""
        return next(self.checkpoints(), (None, 0))

    def checkpoints(self) -> Iterator[tuple[str, int]]:
        """Walk over the checkpoints that it may go on from, with their epochs, the newest first."""
        for report in reversed(self.reports):
            if report.generation == self.generation and report.checkpoint:
                yield report.checkpoint, report.epoch
        if self.clone is not None:
            yield self.clone.checkpoint, self.clone.epoch


@dataclass(frozen=True, slots=True)
class Best:
    """The best report of a run so far."""

    trial: str
    epoch: int
    value: float
    params: dict[str, Any]
    checkpoint: str | None = None
    values: dict[str, float] = field(default_factory=dict)
    """Those of all objectives by their metrics, where there are several."""
