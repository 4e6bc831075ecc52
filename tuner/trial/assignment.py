"""What one process is to do: a trial, from where, and how far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One stint of a trial. Plain data: it travels between processes."""

    run: str
    """Absolute path of the run's folder; with a `storage` that of the machine on which the trial runs."""
    trial: str
    params: dict[str, Any]
    """All keyword arguments of the function: searched and fixed."""
    seed: int
    metric: str
    """The objective, which every report must hold; the first of several."""
    epochs: int
    """The last epoch."""
    generation: int = 0
    storage: str = ""
    """The run's URL, where it is stored at one."""
    machine: str = ""
    """That of the driver, on which `run` is the run's folder; needed with a `storage`."""
    since: int = 1
    """The session in which this generation began: what earlier ones saved belongs to another that was forgotten."""
    attempt: str = "1.0"
    """The driver's session and the trial's losses in it: no two processes ever write the same checkpoint."""
    checkpoint: str | None = None
    """Where to go on from, relative to the run's folder."""
    epoch: int = 0
    """The epoch of that checkpoint."""
    cloned: bool = False
    """The checkpoint is a donor's: weights from it, hyperparameters from `params`."""
    objectives: tuple[str, ...] = ()
    """The metrics of the other objectives."""
    constrained: tuple[str, ...] = ()
    """The metrics that have to keep a limit."""
    save_every: int = 1
    save_at: frozenset[int] = field(default_factory=frozenset)
    """Epochs that are saved whatever `save_every` says; where one is skipped, the report that passes it is."""
    judged_at: frozenset[int] | None = None
    """The epochs at which a trial waits for the decision on its report; it runs on at all others. None: always wait."""
    verify: bool = True
    """Read the first checkpoint back at once; the first trials of a run do, for all that follow."""
    horizon: int = 0
    """The epoch where schedules end: the run's first budget. 0: the last epoch."""
    beat: float = 1.0
    """So many seconds at most the trial goes on between two words to the driver, where it waits for none."""
    patience: float = math.inf
    """Silent for so many seconds, a trial tells what it is doing before it is killed."""
    cpus: int = 1
    """Of each rank."""
    gpus: float = 0
    """Several, one, or a share of one: those of all ranks, and in a rank's own assignment those of this rank."""
    rank: int = 0
    ranks: int = 1
    """Processes that train this trial together."""
    meeting: str = ""
    """The file by which the ranks find each other; made for each attempt."""
    node: str = ""
    """Ray's id of the one machine where it may run; empty for any."""
    context: int = 0
    """What a process is known to take of its GPU beside its tensors, bytes."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """What `trial.autocast` computes in."""
    parts: int = 1
    """In how many parts each batch is trained, for lack of memory."""
    task: Literal["train", "test", "probe", "take"] = "train"
    """`test`: restore, evaluate once on the test split, and end. `probe`: train some steps, which are measured.
    `take`: restore, write the model in the formats of others, and end."""

    @property
    def folder(self) -> Path:
        """The trial's own folder."""
        return Path(self.run) / "trials" / self.trial

    def checkpoint_name(self, epoch: int) -> str:
        """Name a checkpoint by trial, generation, epoch and attempt; relative to the run's folder."""
        return f"trials/{self.trial}/checkpoints/g{self.generation}_e{epoch:04d}_a{self.attempt}"

    def may_adopt(self, generation: int, epoch: int, attempt: int) -> bool:
        """Tell whether a checkpoint of this trial may hold epochs that belong to it, and that nobody has heard of."""
        return generation == self.generation and epoch > self.epoch and attempt >= self.since

    def waits(self, last: int, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Tell whether a trial whose last report was of epoch `last` waits for the decision on that of `epoch`."""
        if self.judged_at is None or epoch >= self.epochs or not self.is_finite(metrics):
            return True
        return not self.judged_at.isdisjoint(range(last + 1, epoch + 1))

    def is_finite(self, metrics: Mapping[str, float]) -> bool:
        """Tell whether all objectives are finite: else the trial has diverged, and nobody goes on from there."""
        return all(math.isfinite(metrics[name]) for name in (self.metric, *self.objectives))

    def saves(self, last: int, epoch: int) -> bool:
        """Tell whether a trial whose last report was of epoch `last` saves that of `epoch`: one it passes counts."""
        every = epoch // self.save_every > last // self.save_every
        return every or epoch >= self.epochs or not self.save_at.isdisjoint(range(last + 1, epoch + 1))
