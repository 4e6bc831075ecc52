"""What no search of a kind can be better than: promotion ASHA that knows how each config will end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.replay import ours
from benchmarks.replay.tables import Task, Unused
from benchmarks.replay.trace import Terms, Trace
from tuner.core.trial import TrialState

PARTS = {"search": {"kind": "random"}, "scheduler": {"kind": "asha", "promote": True}}


def run(task: Task, terms: Terms, arms: int) -> Trace:
    """Let it search a table; of so many random configs each new trial is the one that ends best."""
    replay = _Knowing(ours.experiment(task, terms, PARTS), task, terms)
    replay.unused = _BestOf(task, arms, terms.seed)
    return ours.play(replay)


class _Knowing(ours.Replay):
    """Each rung ranks by the best value of the whole curve; what counts as found is what was reported, as ever."""

    def value(self, trial: TrialState, epoch: int) -> float:
        task = self.trace.task
        if math.isnan(super().value(trial, epoch)):
            return math.nan
        loss = self.unused.loss(self.rows[trial.id])
        return loss if task.mode == "min" else -loss


class _BestOf(Unused):
    def __init__(self, task: Task, arms: int, seed: int) -> None:
        super().__init__(task)
        self.arms, self.random = arms, np.random.default_rng(seed)

    def meet(self, params: Mapping[str, Any]) -> int:
        """Use up the best of some random configs, whatever was suggested."""
        drawn = self.random.permutation(np.flatnonzero(self._free))[: self.arms]
        return self.take(int(drawn[self.task.losses[drawn].argmin()]))
