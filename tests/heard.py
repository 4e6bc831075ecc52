"""A trial's channel that keeps what it is told, and may end the trial as a kill would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner.trial import Assignment, Trial
from tuner.trial.channel import Costs


class Interrupted(BaseException):
    """Stands for a kill."""


class Channel:
    """Keep reports; end the trial after some epoch."""

    def __init__(self, last: int | None = None) -> None:
        self.metrics: list[dict[str, float]] = []
        self.paths: list[str | None] = []
        self.last = last

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Keep a report."""
        self.metrics.append(metrics)
        self.paths.append(checkpoint)
        if epoch == self.last:
            raise Interrupted


def heard(
    train: Callable[..., None], folder: Path, params: dict[str, Any], *, last: int | None = None, **more: Any
) -> tuple[Channel, Trial]:
    """Run a trainable that reports val_accuracy, up to epoch `last` where one is given; 3 epochs unless told."""
    torch.manual_seed(3)
    assignment = Assignment(
        run=str(folder), trial="t", params=params, seed=3, **{"epochs": 3, "metric": "val_accuracy", **more}
    )
    channel = Channel(last)
    trial = Trial(assignment, channel)
    with contextlib.suppress(Interrupted):
        train(trial, **params)
    return channel, trial
