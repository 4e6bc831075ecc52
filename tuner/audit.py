"""Decide everything anew from a ledger, without running anything, and find the first difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from tuner.core.events import Elapsed, Free, Gone, Reported
from tuner.core.records import Ended, Lost, Promoted, Record, Report, Session, Suggested, Tick
from tuner.core.run import Core
from tuner.core.search.asker import Asker
from tuner.core.search.kinds import make_asker
from tuner.core.state import replay
from tuner.spec.experiment import Experiment


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
    skips = {"search": False, "rule": False}
    for number, record in enumerate(records, 1):
        if isinstance(record, Session):
            found.sessions += 1
            skips = _skips(core, record, versions, found)
        elif (expected := _decided_anew(core, record, skips)) is not None:
            found.decided += 1
            if _comparable(expected[0]) != _comparable(record):
                found.difference = _difference(number, record, expected[0])
                return found
        core.apply(record)
        progress(number)
    return found


def _skips(core: Core, session: Session, versions: Mapping[str, str], found: Audit) -> dict[str, bool]:
    """Tell what of a session cannot be compared, since another version decided it."""
    rule = f"rule {core.spec.scheduler.kind}"
    wrote = {"search": session.versions.get("optuna", ""), "rule": session.versions.get(rule, "")}
    here = {"search": versions.get("optuna", ""), "rule": str(core.rule.version)}
    skips = {part: wrote[part] not in ("", here[part]) for part in wrote}
    names = {"search": "Optuna", "rule": f"the {rule}"}
    for part in (part for part, skip in skips.items() if skip):
        what = f"session {session.attempt}: {names[part]} was of version {wrote[part]}, and is {here[part]} here"
        found.skipped.append(what)
    return skips


def _decided_anew(core: Core, record: Record, skips: Mapping[str, bool]) -> tuple[Record | None] | None:
    """Decide what led to a record once more; None where that came from outside, or cannot be compared."""
    if isinstance(record, Suggested) and not skips["search"]:
        return (core.decide(Free()),)
    if isinstance(record, Promoted) and not skips["rule"]:
        return (core.decide(Free()),)
    if isinstance(record, Ended) and core.run.trials[record.trial].status == "paused":
        return (core.decide(Free()),)
    if isinstance(record, Report) and not skips["rule"]:
        return (core.decide(_reported(record)),)
    if isinstance(record, Lost):
        return (core.decide(Gone(trial=record.trial, reason=record.reason, cause=record.cause)),)
    if isinstance(record, Tick):
        return (core.decide(Elapsed(seconds=record.elapsed)),)
    return None


def _reported(record: Report) -> Reported:
    return Reported(**{one.name: getattr(record, one.name) for one in fields(Reported)})


def _comparable(record: Record | None) -> str:
    """Leave out what decides nothing: the time, and what a sampler keeps for itself. NaN equals NaN in text."""
    if isinstance(record, Suggested):
        record = replace(record, seen=0, attributes={})
    return "nothing" if record is None else repr(replace(record, time=0.0))


def _difference(number: int, record: Record, expected: Record | None) -> str:
    wrote, anew = _brief(record), "nothing" if expected is None else _brief(expected)
    return f"record {number}: the ledger says {wrote}; decided anew it is {anew}"


def _brief(record: Record) -> str:
    if isinstance(record, Report):
        mark = record.decision.mark
        rank = f", number {mark.rank} of {mark.of} against {mark.cutoff}" if mark else ""
        clone = f", from {record.decision.clone}" if record.decision.clone else ""
        return f"{record.trial} epoch {record.epoch}: {record.decision.action}{rank}{clone}"
    if isinstance(record, Suggested):
        return f"{record.trial} with {record.params}"
    return repr(replace(record, time=0.0))
