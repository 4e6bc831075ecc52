"""Trials in this process: what they report, and how they are cut off after any epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.trial import Assignment, Trial, randomness
from tuner.trial.channel import Costs


class Cut(BaseException):
    """The process is killed in `report`."""


@dataclass
class Heard:
    """Takes reports, and cuts the trial off after an epoch if it is told to."""

    last: int | None = None
    epochs: list[int] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    checkpoints: list[str | None] = field(default_factory=list)

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Keep what a slot would be told."""
        self.epochs.append(epoch)
        self.metrics.append(metrics)
        self.checkpoints.append(checkpoint)
        if epoch == self.last:
            raise Cut


Function = Callable[..., Any]


def assignment(folder: Path, trial: str = "t0", **more: Any) -> Assignment:
    """Make an assignment of four epochs."""
    given: dict[str, Any] = {"params": {}, "seed": 7, "metric": "loss", "epochs": 4, **more}
    return Assignment(run=str(folder), trial=trial, **given)


def run(function: Function, given: Assignment, last: int | None = None) -> Heard:
    """Run a function as a child process does."""
    heard = Heard(last)
    randomness.seed_all(given.seed)
    with contextlib.suppress(Cut):
        function(Trial(given, heard), **given.params)
    return heard


def goes_on(given: Assignment, heard: Heard, **more: Any) -> Assignment:
    """Make the assignment that goes on from the last report."""
    at = {"checkpoint": heard.checkpoints[-1], "epoch": heard.epochs[-1], "attempt": "2.0"}
    return replace(given, **{**at, **more})
