"""No early stopping: every trial runs to its last epoch."""

from __future__ import annotations

from tuner.core.records import GO, Decision
from tuner.core.rules.rule import first_paused
from tuner.core.standing import Metrics
from tuner.core.state import RunState
from tuner.core.trial import TrialState


class Everything:
    """Let every trial go on."""

    version = 1

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Go on."""
        return GO

    def next(self, run: RunState) -> str | None:
        """Name what was finished when the budget grew; nothing else is ever paused."""
        return first_paused(run)

    def judged_epochs(self) -> frozenset[int]:
        """None."""
        return frozenset()

    def saved_epochs(self) -> frozenset[int]:
        """None beside those of the spec."""
        return frozenset()
