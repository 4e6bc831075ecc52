"""The records of the ledger: all that a run knows. `tuner/core/lines.py` writes each as one line.

Every record is frozen. `time` (seconds since the epoch, UTC) is there for people and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

SCHEMA = 1

Outcome = Literal["finished", "stopped", "diverged", "failed", "infeasible", "lost", "stalled", "killed"]
OUTCOMES: tuple[Outcome, ...] = (
    "finished", "stopped", "diverged", "failed", "infeasible", "lost", "stalled", "killed",
)  # fmt: skip
Cause = Literal["worker", "machine", "stalled", "disk", "memory", "foresight"]
"""What took a trial's worker: a process died, a machine is gone, the watchdog, no room on the disk, or in memory; or it
never had one, since memory would not suffice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all records have: the moment they were written."""

    kind: ClassVar[str]
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Record):
    """The first record: which experiment this is."""

    kind: ClassVar[str] = "header"
    schema: int
    name: str
    spec: dict[str, Any]
    folder: str
    """Where the YAML lay; the trainable is looked for there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Record):
    """A driver began: what was running is queued again."""

    kind: ClassVar[str] = "session"
    attempt: int
    host: str
    pid: int
    slots: int
    versions: dict[str, str]
    card: int = 0
    """Memory of the largest GPU, bytes; 0 where that is not known, or not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines(Record):
    """Machines have joined the cluster or left it, and others than before find room; or repeats follow the search."""

    kind: ClassVar[str] = "machines"
    machines: int
    slots: int
    """How many trials run at once from here on, at most."""
    card: int = 0
    """Memory of the largest GPU, bytes; 0 where that is not known, or not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested(Record):
    """A new trial and its params."""

    kind: ClassVar[str] = "suggested"
    trial: str
    params: dict[str, Any]
    choices: dict[str, int]
    """The index of each choice among its values."""
    seen: int
    """How many records of the ledger the sampler had seen."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """What the sampler needs to know of this trial when it is rebuilt."""

    @property
    def number(self) -> int:
        """The trial's place in the order of suggestions, from 0."""
        return trial_number(self.trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated(Record):
    """A trial that was among the best is trained again on a fresh seed, as a trial of its own."""

    kind: ClassVar[str] = "repeated"
    trial: str
    of: str
    """The trial that it repeats."""
    seed: int
    """Number of the seed, from 1; all that are repeated on the same number train on the same seed."""
    params: dict[str, Any]
    choices: dict[str, int]


def repeat_id(trial: str, seed: int) -> str:
    """Name the repeat of a trial on seed number `seed`, from 1."""
    return f"{trial}-s{seed}"


def trial_id(number: int) -> str:
    """Name the trial that was suggested as number `number`, from 0."""
    return f"t{number:04d}"


def trial_number(name: str) -> int:
    """Read the number out of a trial's name."""
    return int(name[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Given(Record):
    """What a trial runs on from here on; not written for one that has no GPU."""

    kind: ClassVar[str] = "given"
    trial: str
    cpus: int
    gpus: float
    memory: int = 0
    """What that is of the GPU's memory, bytes; 0 where that is not known."""
    probe: bool = False
    """For some steps only, which are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Record):
    """Some steps of a trial were measured, alone on a GPU; then it waits for its share of one."""

    kind: ClassVar[str] = "probed"
    trial: str
    gpu_memory: int
    """The most that its tensors took of the GPU, as torch's allocator reserved it; bytes."""
    context: int = 0
    """What the process took beside them, bytes."""
    step: float = 0.0
    """Seconds a step; an epoch counts as one where there are no batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A rung that a trial crossed: its value there, and the value it was held against."""

    bracket: int
    epoch: int
    value: float
    cutoff: float | None
    rank: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """Where a trial goes on instead: the donor's checkpoint, with params of its own."""

    donor: str
    epoch: int
    checkpoint: str
    params: dict[str, Any]
    choices: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of a trial after a report."""

    action: Literal["go", "pause", "clone", "end"]
    """`clone` starts again at once from the donor's checkpoint; `pause` may hold a clone too, for later."""
    outcome: Outcome | None = None
    reason: str = ""
    mark: Mark | None = None
    clone: Clone | None = None
    target: bool = False
    """The run's target is reached, so the whole run ends."""


GO = Decision(action="go")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Record):
    """An epoch's metrics, its checkpoint and the decision taken on it."""

    kind: ClassVar[str] = "report"
    trial: str
    generation: int
    """How often the trial was replaced by a clone of a better one (`pbt`); 0 elsewhere."""
    epoch: int
    metrics: dict[str, float]
    checkpoint: str | None
    """Path relative to the run's folder."""
    decision: Decision
    seconds: float
    """Since the trial's last report, or since its function began."""
    memory: int = 0
    """Peak resident memory of the trial's process, bytes."""
    gpu_memory: int = 0
    """The most that its tensors have taken of a GPU, as torch's allocator reserved it; bytes."""
    step: float = 0.0
    """Seconds a step, the mean of the epoch; 0 where there are no batches."""
    context: int = 0
    """What its process took of a GPU beside its tensors, bytes; right only where it was alone there."""
    together: int = 0
    """How many trials shared its GPU, it among them; 0 where that is not known, or without a GPU."""
    node: str = ""
    worker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted(Record):
    """A paused trial goes on."""

    kind: ClassVar[str] = "promoted"
    trial: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(Record):
    """A trial's worker is gone; the trial is queued again from its last checkpoint."""

    kind: ClassVar[str] = "lost"
    trial: str
    reason: str
    cause: Cause = "worker"
    silent: float = 0.0
    """For how many seconds it was silent before, where that is the reason."""
    parts: int = 0
    """In how many parts its batches come from now on; 0 for no change."""
    least_gpus: float = 0.0
    """The share of a GPU that it gets from now on, at least; 0 for no change."""
    ran_out: int = 0
    """So much memory of a GPU was not enough, bytes; 0 where it was not that, or is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Record):
    """A trial ended for a reason other than its report."""

    kind: ClassVar[str] = "ended"
    trial: str
    outcome: Outcome
    reason: str
    error: str = ""
    """The user's traceback."""
    ran_out: int = 0
    """So much memory of a GPU was not enough, bytes; 0 where it was not that, or is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Record):
    """The user asked for a stop of one trial or of the run, or for a larger budget and other settings."""

    kind: ClassVar[str] = "asked"
    trial: str | None = None
    budget: dict[str, Any] = field(default_factory=dict)
    """The parts of the budget that are new."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The parts of other sections that are new, such as `{"resources": {"cpus": 2}}`."""

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """All parts of the spec that are new, by section; empty for a stop."""
        return {**self.settings, **({"budget": self.budget} if self.budget else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Record):
    """The time limit was reached."""

    kind: ClassVar[str] = "tick"
    elapsed: float
    """Seconds over all sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk(Record):
    """The run's folder is full, and the run waits; or there is room again."""

    kind: ClassVar[str] = "disk"
    full: bool
    free: int
    """Bytes."""


ALL = (
    Header, Session, Machines, Suggested, Repeated, Given, Probed, Report, Promoted, Lost, Ended, Asked, Tick, Disk,
)  # fmt: skip
KINDS: dict[str, type[Record]] = {cls.kind: cls for cls in ALL}
