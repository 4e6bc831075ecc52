"""A trial in this very process, for a debugger."""

from __future__ import annotations

from collections.abc import Callable

from tuner.trial import randomness
from tuner.trial.assignment import Assignment
from tuner.trial.channel import Costs
from tuner.trial.trial import Trial


class LocalTrial(Trial):
    """A trial in this very process, open to a debugger: reports are printed, nothing decides on them."""

    def __init__(self, assignment: Assignment, show: Callable[[str], None] = print) -> None:
        randomness.seed_all(assignment.seed)
        super().__init__(assignment, _Printer(show))


class _Printer:
    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        text = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        self.show(f"epoch {epoch}  {text}  ({costs.seconds:.2f} s)")

    def full(self, reason: str) -> None:
        raise OSError(reason)
