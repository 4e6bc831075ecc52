"""A trial's channel that keeps what it is told, and may end the trial as a kill would."""

from __future__ import annotations

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
