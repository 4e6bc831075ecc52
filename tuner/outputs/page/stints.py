"""Which worker did what, and when: read out of the reports, which name their worker and how long their epoch took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.core import epochs
from tuner.core.records import Asked, Ended, Given, Lost, Report, Session, Tick
from tuner.outputs.page.history import History

MOST_LANES = 40
"""With more workers than that (they are made anew where trials are long) stints share as few lanes as they can."""


@dataclass(slots=True)
class Stint:
    """A trial on a worker, from where its first epoch there began to its last report, or to its end."""

    trial: str
    node: str
    worker: str
    begin: float
    end: float
    epochs: int = 0
    became: str = "running"
    """An outcome, `paused`, `cloned`, or how it was lost."""
    lane: str = ""
    gpus: float = 0.0
    """Its share of a GPU, or how many it had."""


def stints(history: History) -> list[Stint]:
    """List all stints by their beginning, each on its lane."""
    found: list[Stint] = []
    opened: dict[str, Stint] = {}
    began = 0.0
    given: dict[str, float] = {}
    """What each trial had last: that is written down only where it is new."""
    trained = epochs.between(record for _, record in history.moments if isinstance(record, Report))
    for elapsed, record in history.moments:
        if isinstance(record, Session):
            _cut(opened, "interrupted")
            began = elapsed
        elif isinstance(record, Given):
            given[record.trial] = record.gpus
        elif isinstance(record, Report):
            stint = opened.get(record.trial)
            if stint is None or (stint.node, stint.worker) != (record.node, record.worker):
                begin = max(began, elapsed - record.seconds)
                gpus = given.get(record.trial, 0.0)
                stint = Stint(record.trial, record.node, record.worker, begin, elapsed, gpus=gpus)
                opened[record.trial] = stint
                found.append(stint)
            stint.end, stint.epochs = elapsed, stint.epochs + next(trained)
            if record.decision.action != "go":
                stint.became = record.decision.outcome or {"pause": "paused"}.get(record.decision.action, "cloned")
                del opened[record.trial]
            if record.decision.target:
                _cut(opened, "stopped")
        elif isinstance(record, Lost | Ended) and (stint := opened.pop(record.trial, None)) is not None:
            # What it did since its last report is lost, but it kept its worker busy.
            stint.end = elapsed
            stint.became = record.outcome if isinstance(record, Ended) else "lost"
        elif isinstance(record, Tick):
            _cut(opened, "stopped")
        elif isinstance(record, Asked) and not record.changes:
            _cut(opened, "killed", record.trial)
    found.sort(key=lambda stint: stint.begin)
    _lanes(found)
    return found


def _cut(opened: dict[str, Stint], became: str, trial: str | None = None) -> None:
    """Close what was open, or one trial of it: nothing was heard of it after its last report."""
    for name in list(opened):
        if trial in (None, name):
            opened.pop(name).became = became


def _lanes(found: list[Stint]) -> None:
    names = {(stint.node, stint.worker) for stint in found}
    if len(names) <= MOST_LANES and all(worker for _, worker in names):
        nodes = len({node for node, _ in names}) > 1
        for stint in found:
            stint.lane = f"{stint.worker} on {stint.node}" if nodes else stint.worker
        return
    free: dict[str, list[float]] = {}
    for stint in found:
        ends = free.setdefault(stint.node, [])
        place = next((i for i, end in enumerate(ends) if end <= stint.begin + 1e-6), len(ends))
        ends[place:] = [stint.end, *ends[place + 1 :]]
        stint.lane = f"lane {place + 1}" + (f" on {stint.node}" if stint.node else "")


@dataclass(frozen=True, slots=True)
class Lane:
    """How busy a worker was."""

    name: str
    trials: int
    epochs: int
    busy: float
    """Seconds."""
    idle: list[tuple[float, float]]
    """When it had nothing to do, from the first stint of the run on."""


def lanes(found: list[Stint], until: float) -> Iterator[Lane]:
    """Sum up each lane, in the order in which they began."""
    first = min((stint.begin for stint in found), default=0.0)
    for name in dict.fromkeys(stint.lane for stint in found):
        mine = [stint for stint in found if stint.lane == name]
        idle, at = [], first
        for stint in mine:
            if stint.begin > at:
                idle.append((at, stint.begin))
            at = max(at, stint.end)
        if until > at:
            idle.append((at, until))
        busy = until - first - sum(end - begin for begin, end in idle)
        yield Lane(name, len({s.trial for s in mine}), sum(s.epochs for s in mine), busy, idle)
