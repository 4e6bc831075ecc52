"""What a run has learned about its GPUs: what trials take of them, and how many do well side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.core.packing import Packing
from tuner.core.records import Lost, Probed, Report
from tuner.core.sizing import Sizes
from tuner.spec.space import SomeDimension

if TYPE_CHECKING:
    from tuner.core.state import TrialState


@dataclass(slots=True)
class Gpus:
    """Takes in what records tell of GPUs."""

    sizes: Sizes
    packing: Packing = field(default_factory=Packing)
    context: int = 0
    """What a process takes beside its tensors, bytes."""
    card: int = 0
    """Memory of the largest GPU, bytes; 0 where that is not known."""
    splits: bool = False
    """The batches of its trials can come in parts, as one that ran out of memory has shown."""

    @classmethod
    def of(cls, space: Mapping[str, SomeDimension]) -> Gpus:
        """Know nothing of the trials of a space."""
        return cls(Sizes.of(space))

    def probed(self, trial: TrialState, record: Probed) -> None:
        """Take in what some steps of a trial took, alone on a GPU."""
        self.sizes.measured(trial.params, trial.parts, record.gpu_memory, record.step)
        self.context, trial.probed = max(self.context, record.context), trial.parts

    def reported(self, trial: TrialState, record: Report) -> None:
        """Take in what an epoch took, and how fast it was beside others."""
        step, cell = record.step or record.seconds, self.sizes.cell(trial.params, trial.parts)
        if record.gpu_memory:
            alone = step if record.together == 1 and not cell.step else 0.0
            self.sizes.measured(trial.params, trial.parts, record.gpu_memory, alone)
        self.packing.heard(record.together, cell.step, step)

    def ran_out(self, trial: TrialState, memory: int) -> None:
        """Take in that so many bytes were not enough; 0 says nothing."""
        if memory:
            self.sizes.ran_out(trial.params, trial.parts, memory)

    def lost(self, trial: TrialState, record: Lost) -> None:
        """Take in what a lost trial had, and that batches of this run can be split."""
        self.ran_out(trial, record.ran_out)
        self.splits = self.splits or (record.parts > 1 and record.cause == "memory")

    def too_much(self, trial: TrialState, parts: int) -> float | None:
        """Tell the bytes that a trial will need, where that is more than any GPU has; None where it may fit."""
        need = self.sizes.foreseen(trial.params, parts)
        return need if need is not None and 0 < self.card < need else None
