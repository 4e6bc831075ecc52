"""What a rule is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from tuner.core.records import Decision
from tuner.core.standing import Metrics
from tuner.core.state import RunState
from tuner.core.trial import TrialState

Tops = Mapping[int, Collection[str]]
"""The last epochs of smaller budgets, each with the trials that were finished there when the budget grew."""
NONE: Tops = {}


def first_paused(run: RunState) -> str | None:
    """Name the paused trial that was suggested first."""
    return next((trial.id for trial in run.having("paused")), None)


class Rule(Protocol):
    """A rule looks at the state and answers; it keeps nothing that the state does not give again."""

    version: int
    """Raised whenever the same records would be answered differently."""

    def judge(self, run: RunState, trial: TrialState, epoch: int, metrics: Metrics) -> Decision:
        """Decide on a report with finite objectives at an epoch before the last."""
        ...

    def next(self, run: RunState) -> str | None:
        """Name a paused trial that goes on before any new trial is started."""
        ...

    def judged_epochs(self) -> frozenset[int] | None:
        """The epochs at which, or when they are passed, the answer may be other than go; None for any epoch."""
        ...

    def saved_epochs(self) -> frozenset[int]:
        """The epochs that are saved whatever `checkpoint.every` says."""
        ...
