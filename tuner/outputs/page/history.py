"""A run as its records tell it, each with its moment: how many seconds the run had been driven by then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from tuner.core import epochs, standing
from tuner.core.records import Record, Report, Session
from tuner.core.state import RunState, replay
from tuner.errors import Problem, UserError
from tuner.ledger import read
from tuner.outputs.results import Row, leaderboard

T = TypeVar("T")
UNITS = ((3 * 86400, 86400.0, "days"), (3 * 3600, 3600.0, "hours"), (180, 60.0, "minutes"), (0, 1.0, "seconds"))
WORST = 0.1
"""This share of all values does not widen an axis: curves that exploded would flatten all others."""


@dataclass(frozen=True, slots=True)
class Step:
    """A report that was better than all before it."""

    elapsed: float
    epochs: int
    """Epochs that all trials had trained by then."""
    report: Report
    value: float


class History:
    """All records of a run, and the state that they add up to."""

    def __init__(self, folder: Path) -> None:
        records = read(folder)
        self.folder, self.run = folder, replay(records[:1])
        self.moments: list[tuple[float, Record]] = [(0.0, records[0])]
        for record in records[1:]:
            self.run.apply(record)
            self.moments.append((self.run.elapsed, record))
        self.rows: list[Row] = leaderboard(self.run)
        """All trials, the best first."""

    @cached_property
    def sessions(self) -> list[tuple[float, Session]]:
        """When each driver began."""
        return [(elapsed, record) for elapsed, record in self.moments if isinstance(record, Session)]

    @property
    def metric(self) -> str:
        """The name of the objective."""
        return self.run.spec.objective.metric

    @cached_property
    def reports(self) -> list[tuple[float, Report]]:
        """List all reports of the search with their moments, in the order in which they came."""
        reports = [(elapsed, record) for elapsed, record in self.moments if isinstance(record, Report)]
        return [(elapsed, report) for elapsed, report in reports if report.trial in self.run.trials]

    @cached_property
    def trained(self) -> list[int]:
        """Count for each of the reports the epochs that all trials had trained by then."""
        return list(accumulate(epochs.between(report for _, report in self.reports)))

    @cached_property
    def steps(self) -> list[Step]:
        """List the reports that were the best so far when they came."""
        score, found = self.run.spec.objective.score, list[Step]()
        for trained, (elapsed, report) in zip(self.trained, self.reports, strict=True):
            value = self.run.objective(report)
            counts = standing.may_be_best(self.run.spec, report.metrics)
            if counts and (not found or score(value) > score(found[-1].value)):
                found.append(Step(elapsed, trained, report, value))
        return found

    @cached_property
    def values(self) -> list[float]:
        """List all finite values of the objective."""
        return [value for _, report in self.reports if math.isfinite(value := self.run.objective(report))]

    @property
    def when(self) -> dict[str, Any]:
        """Label an axis of time."""
        return {"title": {"text": f"{self.unit()[1]} of the run"}}

    def unit(self) -> tuple[float, str]:
        """Choose in what time is told: how many seconds that is, and its name."""
        return next((seconds, name) for least, seconds, name in UNITS if self.run.elapsed >= least)


def refuse_strangers(runs: Sequence[RunState]) -> None:
    """Raise UserError where runs have different objectives."""
    first = runs[0]
    for other in runs[1:]:
        mine, its = first.spec, other.spec
        if mine.objectives != its.objectives:
            what = f"must be runs on the same objective, but got {mine.goal} of {first.name} and "
            fix = "Give --report each of them alone."
            raise UserError(Problem("--report", "", f"{what}{its.goal} of {other.name}", fix))


def bounds(values: Sequence[float], score: int) -> tuple[list[float] | None, int]:
    """Find the range of an axis, and how many values lie outside of it; None where all may be shown.

    `score` is 1 where more is better, else -1.
    """
    ordered = sorted((score * value for value in values), reverse=True)
    if not ordered:
        return None, 0
    best, worst = ordered[0], ordered[-1]
    least = ordered[min(len(ordered) - 1, int(len(ordered) * (1 - WORST)))]
    if best == least or best - worst <= 3 * (best - least):
        return None, 0
    room = (best - least) * 0.08
    ends = sorted((score * (best + room), score * (least - room)))
    return ends, sum(not ends[0] <= value <= ends[1] for value in values)


def thinned(items: Sequence[T], most: int) -> list[T]:
    """Keep at most so many items, evenly, the last one among them."""
    if len(items) <= most:
        return list(items)
    return [items[(i + 1) * len(items) // most - 1] for i in range(most)]
