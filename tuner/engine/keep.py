"""Which checkpoints are kept, and the deletion of all others."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tuner.core.records import Ended, Record, Report, Session
from tuner.core.state import RunState
from tuner.core.trial import Best, TrialState
from tuner.storage import delete_folder


def needed(run: RunState, trial: TrialState) -> set[str]:
    """Find the checkpoints of a trial that may still be read.

    The last `keep` of a live trial, the last of one that a larger budget would let go on, the best of the run (with
    several objectives the whole front), and what a clone has still to start from. And the best of each repeat that is
    live, finished or may go on: any of them may come to be the best of the winner's.
    """
    saved = [report.checkpoint for report in trial.reports if report.checkpoint]
    count = run.spec.checkpoint.keep if trial.status != "ended" else int(trial.may_go_on)
    names = set(saved[len(saved) - count :]) if count else set()
    names |= {best.checkpoint for best in _best(run) if best.checkpoint}
    if trial.of and trial.best_saved is not None and (trial.status != "ended" or trial.may_go_on):
        names.add(trial.best_saved.checkpoint or "")
    return (names | _cloned(run)) & set(saved)


def _best(run: RunState) -> list[Best]:
    return [*([run.best_saved] if run.best_saved else []), *run.front_saved]


def _cloned(run: RunState) -> set[str]:
    if run.spec.scheduler.kind != "pbt":
        return set()
    return {trial.clone.checkpoint for trial in run.trials.values() if trial.clone and is_open(trial)}


def is_open(trial: TrialState) -> bool:
    """Tell whether a trial goes on, or would with a larger budget."""
    return trial.status != "ended" or trial.may_go_on


class Place(Protocol):
    """Where checkpoints lie, each under its path relative to the run."""

    def delete(self, checkpoint: str) -> None:
        """Delete one; one that is not there is fine."""
        ...

    def checkpoints(self) -> list[str]:
        """List all that are there."""
        ...


class Folder:
    """The run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def delete(self, checkpoint: str) -> None:
        """Delete one; one that is not there is fine."""
        delete_folder(self.folder / checkpoint)

    def checkpoints(self) -> list[str]:
        """List all that are there."""
        return [str(path.relative_to(self.folder)) for path in self.folder.glob("trials/*/checkpoints/*")]


class Keeper:
    """Follows the ledger and deletes what is needed no more."""

    def __init__(self, *places: Place) -> None:
        self.places: Sequence[Place] = places
        self._kept: dict[str, set[str]] = {}
        self._best = set[str]()
        self._closed = ""
        self._since, self._is_live = time.time(), False

    def see(self, record: Record, run: RunState) -> None:
        """Look at the trials whose checkpoints the record may have set free."""
        if isinstance(record, Report) and record.checkpoint:
            self._kept.setdefault(record.trial, set()).add(record.checkpoint)
        if run.closed and run.closed != self._closed:
            self._sweep(run, set(self._kept))
        elif isinstance(record, Report):
            donors = {clone.donor} if (clone := run.find(record.trial).clone) else set()
            self._sweep(run, {record.trial} | self._best | donors)
            self._best = {best.trial for best in _best(run)}
        elif isinstance(record, Ended):
            self._sweep(run, {record.trial})
        self._closed = run.closed
        # A session of this driver's comes after all earlier records: from then on the state is the present one.
        self._is_live |= isinstance(record, Session) and record.time >= self._since

    def close(self, run: RunState) -> None:
        """Delete what ended trials saved without a report.

        Not before: an ended trial of an earlier record may have gone on since, with a larger budget.
        """
        if not self._is_live:
            return
        ended = {trial.id for trial in run.everyone() if trial.status == "ended"}
        for place in self.places:
            for path in place.checkpoints():
                if (trial := path.split("/")[1]) in ended and path not in self._kept.get(trial, ()):
                    place.delete(path)

    def _sweep(self, run: RunState, trials: set[str]) -> None:
        for name in trials & self._kept.keys():
            for path in self._kept[name] - needed(run, run.find(name)):
                for place in self.places:
                    place.delete(path)
                self._kept[name].discard(path)
            if not self._kept[name]:
                del self._kept[name]
