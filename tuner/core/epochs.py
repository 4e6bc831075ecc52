"""How many epochs were trained: a report may skip some, and a clone goes on from an epoch of its donor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tuner.core.records import Report
from tuner.core.state import RunState
from tuner.core.trial import TrialState


def between(reports: Iterable[Report]) -> Iterator[int]:
    """Yield for each report, in the order in which they came, the epochs since the one before it of its trial."""
    last: dict[str, int] = {}
    for report in reports:
        yield report.epoch - last.get(report.trial, 0)
        clone = report.decision.clone
        last[report.trial] = report.epoch if clone is None else clone.epoch


def trained(trial: TrialState) -> int:
    """Add up the epochs of a trial over all of its generations."""
    # Without a clone the last report tells it, and a live table asks often.
    return sum(between(list(trial.reports))) if trial.generation else trial.epoch


def of_run(run: RunState) -> int:
    """Add up the epochs of all trials, and of their repeats on fresh seeds."""
    return sum(trained(trial) for trial in list(run.trials.values())) + of_repeats(run)


def of_repeats(run: RunState) -> int:
    """Add up the epochs of the repeats on fresh seeds."""
    return sum(trained(repeat) for repeat in list(run.repeats.values()))
