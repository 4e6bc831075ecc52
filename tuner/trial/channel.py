"""What a trial hands over while it trains, and how it leaves the user's function before its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Costs:
    """What an epoch took."""

    seconds: float
    memory: int
    """Peak resident memory of the process, bytes."""
    gpu_memory: int
    """The most that tensors have taken of a GPU, bytes."""
    step: float
    """Seconds a step; 0 where there are no batches."""
    context: int
    """What the process takes of its GPU beside its tensors, bytes; right only where it is alone there."""

    @classmethod
    def most(cls, costs: Iterable[Costs]) -> Costs:
        """Make those of a trial of its ranks': what the one took that took most, and the pace of the slowest."""
        return cls(*map(max, zip(*map(astuple, costs), strict=True)))


class Channel(Protocol):
    """Where a trial's reports go."""

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Hand over a report; returns when the trial may go on."""
        ...

    def full(self, reason: str) -> None:
        """Tell that a checkpoint finds no room; returns when it may be tried again."""
        ...


class Probed(BaseException):
    """Enough was trained to be measured: leave the user's function, past its `except Exception`."""

    def __init__(self, step: float) -> None:
        self.step = step
        """Seconds a step; an epoch counts as one where there are no batches."""


class Tested(BaseException):
    """The test task is done: leave the user's function, past its `except Exception`."""

    def __init__(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics
