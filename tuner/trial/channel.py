"""Where a trial's reports go, and how it ends when it was only asked to measure."""

from __future__ import annotations

from typing import Protocol


class Channel(Protocol):
    """Where a trial's reports go."""

    def report(
        self, epoch: int, metrics: dict[str, float], checkpoint: str | None, seconds: float, memory: int
    ) -> None:
        """Hand over a report; returns when the trial may go on."""
        ...

    def full(self, reason: str) -> None:
        """Tell that a checkpoint finds no room; returns when it may be tried again."""
        ...


class Tested(BaseException):
    """The test task is done: leave the user's function, past its `except Exception`."""

    def __init__(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics
