"""What a run has learned about its GPUs: what trials take of them, and how many do well side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median_low
from typing import TYPE_CHECKING

from tuner.core.packing import Packing
from tuner.core.records import Lost, Probed, Report
from tuner.core.sizing import Sizes
from tuner.spec.space import SomeDimension

if TYPE_CHECKING:
    from tuner.core.trial import TrialState


VERSION = 3
"""Of what is learned and foreseen; a later one decides otherwise."""
MARGIN = 1.1
"""So much more than was measured is given: memory comes apart into pieces, and a later batch may be larger."""
TRIES = 3
"""After so many trials that ran out of memory in parts too, parts are taken to save what the formula says: nothing."""
KEPT = 21
"""So many measurements of what a process takes beside its tensors are kept."""


@dataclass(slots=True)
class Gpus:
    """Takes in what records tell of GPUs."""

    sizes: Sizes
    packing: Packing = field(default_factory=Packing)
    contexts: list[int] = field(default_factory=list)
    """What processes took beside their tensors that were alone on a GPU, the newest ones, bytes."""
    card: int = 0
    """Memory of the largest GPU, bytes; 0 where that is not known."""
    splits: bool = False
    """The batches of its trials can come in parts, as one that ran out of memory has shown."""

    knows_parts: bool = False
    """One of them was measured."""
    in_vain: int = 0
    """So many trials ran out of memory in parts too."""

    @property
    def context(self) -> int:
        """What a process takes beside its tensors, bytes: the median, since others may have been on the GPU once."""
        return int(median_low(self.contexts)) if self.contexts else 0

    @classmethod
    def of(cls, space: Mapping[str, SomeDimension]) -> Gpus:
        """Know nothing of the trials of a space."""
        return cls(Sizes.of(space))

    def probed(self, trial: TrialState, record: Probed) -> None:
        """Take in what some steps of a trial took, alone on a GPU."""
        self.sizes.measured(trial.params, trial.parts, record.gpu_memory, record.step)
        trial.probed = trial.parts
        self._measured(trial, record.context)

    def reported(self, trial: TrialState, record: Report) -> None:
        """Take in what an epoch took, and how fast it was beside others."""
        share, cell = trial.given.gpus if trial.given else 0.0, self.sizes.cell(trial.params, trial.parts)
        # Without batches an epoch is a step, but for the first, in which the trial also sets itself up.
        step = record.step or (record.seconds if len(trial.reports) > 1 else 0.0)
        alone = step if record.together == 1 and not cell.step else 0.0
        if record.gpu_memory:
            self.sizes.measured(trial.params, trial.parts, self._tamed(trial, record.gpu_memory), alone)
            self._measured(trial, record.context if record.together == 1 and share == 1 else 0)
        self.packing.heard(record.together, cell.step or alone, step)

    def _tamed(self, trial: TrialState, peak: int) -> int:
        """Take no more for needed than a share was made for: an allocator keeps what it may keep."""
        if trial.given is None or trial.given.gpus >= 1:
            return peak
        return min(peak, int((trial.given.memory - self.context) / MARGIN))

    def _measured(self, trial: TrialState, context: int) -> None:
        self.knows_parts = self.knows_parts or trial.parts > 1
        if context:
            self.contexts = [*self.contexts[1 - KEPT :], context]

    def ran_out(self, trial: TrialState, memory: int) -> None:
        """Take in that so many bytes were not enough; 0 says nothing."""
        if memory:
            self.sizes.ran_out(trial.params, trial.parts, memory)
            self.in_vain += trial.parts > 1

    def lost(self, trial: TrialState, record: Lost) -> None:
        """Take in what a lost trial had, and that batches of this run can be split."""
        self.ran_out(trial, record.ran_out)
        self.splits = self.splits or (record.parts > 1 and record.cause == "memory")

    def too_much_in_parts(self, trial: TrialState, whole: float) -> float | None:
        """Tell the bytes that a trial will need even with its batches in two parts; None where it may fit.

        `whole` are those with whole batches. As long as none was measured in parts the formula does not know what they
        save. Half of it at most; and what was not enough for a smaller one is not enough.
        """
        if self.knows_parts or self.in_vain >= TRIES:
            return self.too_much(trial, 2)
        least = max(self.sizes.bounds(trial.params, 2)[0], whole / 2)
        return least if 0 < self.card <= least else None

    def too_much(self, trial: TrialState, parts: int) -> float | None:
        """Tell the bytes that a trial will need, where that is more than any GPU has; None where it may fit."""
        need = self.sizes.foreseen(trial.params, parts) if self.card else None
        if need is None or need[1] <= self.card:
            return None
        # What is only likely has to be seen as well: a smaller one ran out.
        ran_out = self.sizes.bounds(trial.params, parts)[0] >= self.card
        return need[1] if ran_out or need[0] > self.card else None
