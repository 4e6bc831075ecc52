"""Decide everything anew from a ledger, without running anything, and find the first difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from tuner.core import confirm
from tuner.core.events import Due, Elapsed, Event, Failed, Free, Gone, Reported, Returned, Silent
from tuner.core.gpus import VERSION
from tuner.core.records import Cause, Ended, Lost, Promoted, Record, Repeated, Report, Session, Suggested, Tick
from tuner.core.run import FORESEEN, GIVEN_UP, RETURNED, Core
from tuner.core.search.asker import Asker
from tuner.core.search.kinds import make_asker
from tuner.core.state import replay
from tuner.spec.experiment import Experiment

DECIDING = ("rung", "straight")
"""Attributes of a suggestion that say when the trial pauses; the others are what a sampler keeps for itself."""
LIBRARIES = ("numpy", "scipy", "torch", "cmaes")
"""What samplers compute with, beside Optuna."""


@dataclass(slots=True)
class Audit:
    """What an audit found."""

    records: int
    sessions: int = 0
    decided: int = 0
    """Decisions that were made anew."""
    skipped: list[str] = field(default_factory=list)
    """What could not be decided anew, and why."""
    difference: str = ""
    """The first difference; empty where there is none."""


def audit(
    records: Sequence[Record],
    versions: Mapping[str, str],
    make: Callable[[Experiment], Asker] = make_asker,
    progress: Callable[[int], None] = lambda done: None,
) -> Audit:
    """Compare each decision of a ledger with the one that its rules make today.

    `versions` are those installed: what another version of Optuna, or of a rule, decided is not compared.
    """
    spec = replay(records[:1]).spec
    core, found = Core(spec, make(spec)), Audit(len(records))
    skips = {"search": False, "rule": False, "gpus": False, "confirm": False}
    for number, record in enumerate(records, 1):
        if unknown := _unknown(core, record):
            found.difference = f"record {number}: names trial {unknown}, which was not suggested before"
            return found
        if isinstance(record, Session):
            found.sessions += 1
            skips = _skips(core, record, versions, found)
        elif (event := _event(core, record, skips)) is not None:
            found.decided += 1
            if difference := _compare(core, event, record):
                found.difference = f"record {number}: {difference}{_others(core.run.versions, versions)}"
                return found
        core.apply(record)
        progress(number)
    return found


def _skips(core: Core, session: Session, versions: Mapping[str, str], found: Audit) -> dict[str, bool]:
    """Tell what of a session cannot be compared, since another version decided it."""
    rule = f"rule {core.spec.scheduler.kind}"
    keys = {"search": "optuna", "rule": rule, "gpus": "gpus", "confirm": "confirm"}
    names = {"search": "Optuna", "rule": f"the {rule}", "gpus": "what is foreseen of GPUs",
             "confirm": "the confirmation"}  # fmt: skip
    here = {"search": versions.get("optuna", ""), "rule": str(core.rule.version), "gpus": str(VERSION),
            "confirm": str(confirm.VERSION)}  # fmt: skip
    if core.spec.search.kind == "auto":  # which is one with its rule, and not Optuna's
        keys["search"], names["search"], here["search"] = rule, "the search auto", here["rule"]
    wrote = {part: session.versions.get(key, "") for part, key in keys.items()}
    skips = {part: wrote[part] not in ("", here[part]) for part in wrote}
    for part in (part for part, skip in skips.items() if skip):
        what = f"session {session.attempt}: {names[part]} was of version {wrote[part]}, and is {here[part]} here"
        found.skipped.append(what)
    return skips


def _event(core: Core, record: Record, skips: Mapping[str, bool]) -> Event | None:
    """Find the event that led to a record; None where it came from outside as it is, or cannot be compared."""
    if isinstance(record, Suggested):
        return None if skips["search"] else Free()
    judge = "confirm" if getattr(record, "trial", None) in core.run.repeats else "rule"
    if isinstance(record, Repeated):
        return None if skips["confirm"] else Free()
    if isinstance(record, Promoted):
        return None if skips[judge] else Free()
    if isinstance(record, Report):
        return None if skips[judge] else _reported(record)
    if isinstance(record, Lost):
        if record.cause == "memory":
            reason, splits = record.reason.rpartition("; ")[0], record.parts > 0
            on_gpu = record.ran_out > 0
            return Failed(trial=record.trial, outcome="infeasible", reason=reason, splits=splits, on_gpu=on_gpu)
        if record.cause == "foresight":
            return None if _skips_due(core, record, skips) else Due(trial=record.trial)
        if record.silent:
            return Silent(trial=record.trial, seconds=record.silent)
        return Gone(trial=record.trial, reason=record.reason, cause=record.cause)
    if isinstance(record, Tick):
        return Elapsed(seconds=record.elapsed)
    return _end(core, record, skips) if isinstance(record, Ended) else None


def _end(core: Core, record: Ended, skips: Mapping[str, bool]) -> Event | None:
    """Find what ended a trial: the rule, its function, or too many losses; a failure comes from outside as it is."""
    if core.run.find(record.trial).status == "paused":
        return None if skips["rule"] else Free()
    if record.outcome == "infeasible" and record.reason.startswith(FORESEEN):
        return None if _skips_due(core, record, skips) else Due(trial=record.trial)
    if record.outcome in ("lost", "stalled"):
        cause: Cause = next((cause for cause, what in GIVEN_UP.items() if record.reason.startswith(what)), "worker")
        return Gone(trial=record.trial, reason=record.reason.partition(": ")[2], cause=cause)
    returned = record.outcome == "finished" or record.reason.startswith(RETURNED)
    return Returned(trial=record.trial) if returned else None


def _skips_due(core: Core, record: Lost | Ended, skips: Mapping[str, bool]) -> bool:
    """Tell whether what was foreseen of a trial cannot be compared; whether repeats are is up to the confirmation."""
    return skips["gpus"] or (skips["confirm"] and record.trial in core.run.repeats)


def _compare(core: Core, event: Event, record: Record) -> str:
    """Decide anew, and tell the difference; empty where there is none."""
    anew = core.decide(event)
    if _comparable(anew) == _comparable(record):
        return ""
    return f"the ledger says {_brief(record)}; decided anew it is {'nothing' if anew is None else _brief(anew)}"


def _unknown(core: Core, record: Record) -> str:
    """Name the trial of a record where it was not suggested before."""
    name = getattr(record, "of" if isinstance(record, Repeated) else "trial", None)
    return "" if isinstance(record, Suggested) or name is None or core.run.knows(name) else str(name)


def _others(wrote: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Name the libraries that were of another version: they may be why."""
    names = [name for name in LIBRARIES if name in wrote and wrote[name] != here.get(name, "")]
    told = ", ".join(f"{name} was {wrote[name]} and is {here.get(name, 'missing')}" for name in names)
    return f" ({told})" if told else ""


def _reported(record: Report) -> Reported:
    return Reported(**{one.name: getattr(record, one.name) for one in fields(Reported)})


def _comparable(record: Record | None) -> str:
    """Leave out what decides nothing: the time, and what a sampler keeps for itself. NaN equals NaN in text."""
    if isinstance(record, Suggested):
        kept = {key: value for key, value in record.attributes.items() if key in DECIDING}
        record = replace(record, seen=0, attributes=kept)
    return "nothing" if record is None else repr(replace(record, time=0.0))


def _brief(record: Record) -> str:
    if isinstance(record, Report):
        mark = record.decision.mark
        rank = f", number {mark.rank} of {mark.of} against {mark.cutoff}" if mark else ""
        clone = f", from {record.decision.clone}" if record.decision.clone else ""
        return f"{record.trial} epoch {record.epoch}: {record.decision.action}{rank}{clone}"
    if isinstance(record, Suggested):
        return f"{record.trial} with {record.params}"
    return repr(replace(record, time=0.0))
