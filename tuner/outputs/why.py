"""The story of a trial, read out of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tuner.core.confirm import race
from tuner.core.records import (
    Asked,
    Ended,
    Given,
    Lost,
    Mark,
    Probed,
    Promoted,
    Record,
    Repeated,
    Report,
    Session,
    Suggested,
    Tick,
)
from tuner.core.rules import ranking
from tuner.core.search.first import first
from tuner.core.search.kinds import is_at_random
from tuner.core.state import RunState, replay
from tuner.core.trial import TrialState
from tuner.ledger import read
from tuner.outputs.grid import clean, duration, number, params_text, size

BECOMES = {"go": "goes on", "pause": "is paused", "clone": "is replaced"}
Line = tuple[str, str]
"""When or where, and what happened."""


def why(folder: Path, trial: str, console: Console) -> None:
    """Print what happened to a trial, and why."""
    records = read(folder)
    run = replay(records)
    state = run.find(trial)
    name = folder.resolve().name
    console.print(Text(clean(f"{trial} of {name}: {_end(state)}"), style="bold"))
    for where, what in story(records, trial):
        console.print(Text(clean(f"  {where:<11} {what}")), soft_wrap=True)
    if dropped := race(run).dropped.get(trial):
        console.print(Text(clean(f"  {'dropped':<12}{dropped}")), soft_wrap=True)
    if state.error:
        lines = "\n".join(map(clean, state.error.expandtabs().rstrip().splitlines()))
        console.print(Text(lines, style="red"), soft_wrap=True)


def story(records: Sequence[Record], trial: str) -> Iterator[Line]:
    """Yield what the records say of a trial, epochs at which nothing was decided drawn together."""
    quiet: list[Report] = []
    run = RunState()
    for record in records:
        before = _status(run, trial)
        run.apply(record)
        if isinstance(record, Report) and record.trial == trial and _is_quiet(record):
            quiet.append(record)
            continue
        lines = list(_lines(record, records, run, trial, before))
        if lines and quiet:
            yield _quiet(quiet, run)
            quiet = []
        yield from lines
    if quiet:
        yield _quiet(quiet, run)


def _status(run: RunState, trial: str) -> str:
    """Tell where a trial stands; empty before it was suggested."""
    return run.find(trial).status if run.knows(trial) else ""


def _lines(record: Record, records: Sequence[Record], run: RunState, trial: str, before: str) -> Iterator[Line]:
    """Yield what a record means for a trial that was `before` running, paused, ended, or not there."""
    now = _status(run, trial)
    if getattr(record, "trial", None) == trial:
        yield from _own(record, records, run)
    elif isinstance(record, Repeated) and record.of == trial:
        yield "confirmed", f"repeated on fresh seed {record.seed} as {record.trial}"
    elif before in ("running", "paused"):
        yield from _of_the_run(record)
        if now == "ended":
            yield "ended", f"{run.find(trial).outcome}: {run.find(trial).reason}"
    elif before == "ended" and now != "ended":
        yield from _of_the_run(record)
        yield "", "it is open again" if now == "running" else "it waits to be promoted"


def _of_the_run(record: Record) -> Iterator[Line]:
    if isinstance(record, Session) and record.attempt > 1:
        yield "", f"session {record.attempt} began on {record.host}: what was running is queued again"
    elif isinstance(record, Tick):
        yield "", f"budget.hours is reached after {duration(record.elapsed)}"
    elif isinstance(record, Report) and record.decision.target:
        yield "", f"{record.trial} reached budget.target"
    elif isinstance(record, Asked) and record.trial is None:
        parts = [f"{key}.{name} {value}" for key, part in record.changes.items() for name, value in part.items()]
        yield "asked", f"changed: {', '.join(parts)}" if parts else "the user stopped the run"


def _own(record: Record, records: Sequence[Record], run: RunState) -> Iterator[Line]:
    if isinstance(record, Suggested):
        yield "suggested", f"{params_text(record.params)}; {_source(record, records, run)}"
    elif isinstance(record, Repeated):
        yield "repeats", f"{record.of} on fresh seed {record.seed}: {params_text(record.params)}"
    elif isinstance(record, Report):
        yield f"epoch {record.epoch}", _reported(record, run)
        if (clone := record.decision.clone) is not None:
            yield "cloned", f"goes on from {clone.donor} at epoch {clone.epoch}, with {params_text(clone.params)}"
    elif isinstance(record, Promoted):
        yield "promoted", record.reason
    elif isinstance(record, Given):
        yield "given", _given(record)
    elif isinstance(record, Probed):
        yield "measured", f"it took {size(record.gpu_memory)} of the GPU, {1000 * record.step:.3g} ms a step"
    elif isinstance(record, Lost) and record.cause == "foresight":
        yield "foreseen", record.reason
    elif isinstance(record, Lost):
        yield "lost", f"{record.reason} ({record.cause}); queued again from its last checkpoint"
    elif isinstance(record, Ended):
        yield "ended", f"{record.outcome}: {record.reason}"
    elif isinstance(record, Asked):
        yield "asked", "the user stopped the trial"


def _given(record: Given) -> str:
    memory = f" ({size(record.memory)} each)" if record.memory and record.gpus > 1 else ""
    memory = f" ({size(record.memory)})" if record.memory and record.gpus <= 1 else memory
    purpose = ", for some steps that are measured" if record.probe else ""
    return f"CPUs: {record.cpus}, GPUs: {record.gpus:g}{memory}{purpose}"


def _source(record: Suggested, records: Sequence[Record], run: RunState) -> str:
    """Say what a suggestion was made from."""
    spec = run.spec
    if (given := first(spec, record.number)) is not None:
        return f"{given.source}; what that leaves open is drawn by {spec.search.kind}"
    seen = records[: record.seen]
    trials = {one.trial for one in seen if isinstance(one, Report)}
    reports = sum(isinstance(one, Report) for one in seen)
    at_random = ", still at random" if is_at_random(spec, seen) else ""
    return f"by {spec.search.kind} from {reports} reports of {len(trials)} trials{at_random}"


def _reported(report: Report, run: RunState) -> str:
    names = [objective.metric for objective in run.spec.objectives]
    value = ", ".join(f"{name} {number(report.metrics[name])}" for name in names)
    decision = report.decision
    parts = [value, *([_rank(decision.mark, run)] if decision.mark else [])]
    reason = f" ({decision.reason})" if decision.reason and not _says_it_all(decision.mark, run) else ""
    return "; ".join([*parts, f"{decision.outcome or BECOMES[decision.action]}{reason}"])


def _says_it_all(mark: Mark | None, run: RunState) -> bool:
    """Tell whether a mark explains a decision: not where a value that passes the cutoff was stopped, by a quota."""
    score = run.spec.objective.score
    return mark is not None and (mark.cutoff is None or score(mark.value) < score(mark.cutoff))


def _rank(mark: Mark, run: RunState) -> str:
    bracket = f" of bracket {mark.bracket}" if mark.bracket else ""
    if mark.cutoff is not None:
        by = f"cutoff {number(mark.cutoff)}"
    elif mark.of == 1:
        by = "nothing to hold it against"
    else:
        by = "judged by the model" if run.spec.search.kind == "auto" else f"by {ranking.how(run.spec)}"
    return f"rung {mark.epoch}{bracket}: number {mark.rank} of {mark.of}, {by}"


def _is_quiet(report: Report) -> bool:
    return report.decision.action == "go" and report.decision.mark is None


def _quiet(reports: Sequence[Report], run: RunState) -> Line:
    first, last = reports[0], reports[-1]
    values = [number(run.objective(report)) for report in (first, last)]
    if first is last:
        return f"epoch {first.epoch}", f"{run.spec.objective.metric} {values[0]}"
    return f"epochs {first.epoch}-{last.epoch}", f"{run.spec.objective.metric} {values[0]} to {values[1]}"


def _end(trial: TrialState) -> str:
    if trial.outcome is None:
        return f"{trial.status} at epoch {trial.epoch}"
    return f"{trial.outcome} at epoch {trial.epoch}" + (f", {trial.reason}" if trial.reason else "")
