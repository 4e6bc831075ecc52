"""What can happen to a run from outside."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.core.records import Cause, Outcome


@dataclass(frozen=True, slots=True)
class Free:
    """A slot is free: what may it do?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A trial is about to be handed out."""

    trial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A trial reported an epoch."""

    trial: str
    generation: int
    epoch: int
    metrics: dict[str, float] = field(hash=False)
    checkpoint: str | None = None
    seconds: float = 0.0
    memory: int = 0
    gpu_memory: int = 0
    step: float = 0.0
    context: int = 0
    together: int = 0
    node: str = ""
    worker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Some steps of a trial were measured, alone on a GPU."""

    trial: str
    gpu_memory: int
    context: int = 0
    step: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A trial's function returned by itself."""

    trial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A trial cannot go on."""

    trial: str
    outcome: Outcome
    reason: str
    error: str = ""
    splits: bool = False
    """Where memory was too small: whether its batches could come in parts."""
    on_gpu: bool = False
    """It was a GPU's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A trial's worker is gone."""

    trial: str
    reason: str
    cause: Cause = "worker"
    silent: float = 0.0
    """For how many seconds it was silent before, where that is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A trial's process says nothing for so many seconds."""

    trial: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """The user wants a trial, or the whole run, to stop."""

    trial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed:
    """Time has gone by: seconds over all sessions."""

    seconds: float


Event = Free | Due | Reported | Measured | Returned | Failed | Gone | Silent | StopAsked | Elapsed
