"""TensorBoard: scalars by epoch, texts, images, histograms, and an HParams page with every trial's metric filled in."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tuner.core.records import Asked, Ended, Header, Promoted, Record, Repeated, Report, Suggested
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.outputs import eventfile as events
from tuner.outputs.eventfile import EventFile
from tuner.spec.space import Choice, SomeDimension
from tuner.storage import delete_folder

GOOD = ("finished", "stopped")
MEDIUM = re.compile(r"e(\d+)_(.+)\.(txt|png|histogram\.json)")


@dataclass(slots=True)
class Trial:
    """What is known of a trial whose events are being written."""

    file: EventFile
    began: float
    params: dict[str, Any]
    """Those that its next report was trained with."""
    shown: set[str] = field(default_factory=set)
    """Files of `trial.log` that are written."""
    waiting: dict[int, list[str]] = field(default_factory=dict)
    """Files that were there when the trial was read from the ledger, by epoch."""
    looked: int = 0
    """The last epoch of which files were looked for; more of it may come until the next one begins."""


class TensorBoard:
    """Writes one folder of events for each trial; begins anew with the first record that a driver hands over."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self.folder = run_folder, run_folder / "tensorboard"
        self.trials: dict[str, Trial] = {}
        """Those that have not ended."""
        self._since = time.time()

    def see(self, record: Record, run: RunState) -> None:
        """Write what the record adds."""
        if isinstance(record, Header):
            delete_folder(self.folder)
            self._describe(run, record.time)
        elif isinstance(record, Suggested | Repeated):
            self._begin(record, run)
        elif isinstance(record, Promoted) and record.trial in run.repeats:
            self._open_again(run, record.time)
        elif isinstance(record, Report):
            self._report(record, run)
        if isinstance(record, Asked) and record.budget:
            self._open_again(run, record.time)
        elif isinstance(record, Asked) or run.closed:
            self._end_all(run, record.time)
        elif isinstance(record, Report | Ended) and run.find(record.trial).status == "ended":
            self._end(run.find(record.trial), run, record.time)

    def close(self, run: RunState) -> None:
        """Write what a trial that goes on later has kept back."""
        for name, trial in self.trials.items():
            if changes(run):
                trial.file.add([self._start(name, trial, run)], time=trial.began)
            trial.file.flush()

    def _describe(self, run: RunState, time: float) -> None:
        """Tell the HParams page which params and metrics there are."""
        metrics = [objective.metric for objective in run.spec.objectives]
        params = {name: _domain(dimension) for name, dimension in run.spec.space.items()}
        titles = {f"best/{metric}": f"best {metric}" for metric in metrics}
        titles |= {metric: f"last {metric}" for metric in dict.fromkeys([*metrics, *run.spec.constraints])}
        file = EventFile(self.folder, time)
        file.add([events.experiment(params, titles, time)], time=time)
        file.flush()

    def _begin(self, record: Suggested | Repeated, run: RunState) -> None:
        trial = Trial(EventFile(self.folder / record.trial, record.time), record.time, record.params)
        if self._is_replayed(record.time):
            trial.waiting = _by_epoch(self._kept(record.trial))
        self.trials[record.trial] = trial
        if not changes(run):
            trial.file.add([self._start(record.trial, trial, run)], time=record.time)

    def _start(self, name: str, trial: Trial, run: RunState) -> Any:
        params = {key: _shown(run.spec.space.get(key), value) for key, value in trial.params.items()}
        return events.session_start(name, params, trial.began)

    def _report(self, record: Report, run: RunState) -> None:
        trial = self.trials[record.trial]
        values = [events.scalar(name, value) for name, value in record.metrics.items()]
        if (best := run.find(record.trial).best) is not None:
            for objective in run.spec.objectives:
                values.append(events.scalar(f"best/{objective.metric}", best.metrics[objective.metric]))
        if changes(run):
            numbers = {name: value for name, value in trial.params.items() if isinstance(value, int | float)}
            values += [events.scalar(f"params/{name}", float(value)) for name, value in numbers.items()]
        trial.file.add(values, record.epoch, record.time)
        self._media(record.trial, record.time, record.epoch)
        trial.file.flush()
        if record.decision.clone is not None:
            trial.params = record.decision.clone.params

    def _media(self, name: str, time: float, epoch: int) -> None:
        """Show what the trial kept with `trial.log` since its last report, up to an epoch.

        A trial that is read from the ledger has its folder listed once; later only the names of new epochs are read.
        """
        trial = self.trials[name]
        epochs = range(trial.looked, epoch + 1)
        if not self._is_replayed(time):
            starts = tuple(f"e{number:04d}_" for number in epochs)
            trial.waiting = _by_epoch(file for file in self._kept(name) if file.startswith(starts))
        for number in epochs:
            self._show(name, number, trial.waiting.pop(number, ()), time)
        trial.looked = epoch

    def _show(self, name: str, epoch: int, files: Iterable[str], time: float) -> None:
        trial = self.trials[name]
        for file in sorted(files):
            if file not in trial.shown and (match := MEDIUM.fullmatch(file)):
                trial.shown.add(file)
                trial.file.add(_medium(self._folder_of(name) / file, unquote(match[2])), epoch, time)

    def _folder_of(self, name: str) -> Path:
        return self.run_folder / "trials" / name / "media"

    def _kept(self, name: str) -> list[str]:
        """List the files that a trial kept with `trial.log`."""
        folder = self._folder_of(name)
        return os.listdir(folder) if folder.is_dir() else []

    def _is_replayed(self, time: float) -> bool:
        """Tell whether a record is older than this driver."""
        return time < self._since

    def _end(self, state: TrialState, run: RunState, time: float) -> None:
        for epoch, files in sorted(_by_epoch(self._kept(state.id)).items()):
            self._show(state.id, epoch, files, time)
        trial = self.trials.pop(state.id)
        if changes(run):
            trial.file.add([self._start(state.id, trial, run)], time=trial.began)
        trial.file.add([events.session_end(state.outcome in GOOD, time)], time=time)
        trial.file.flush()

    def _open_again(self, run: RunState, time: float) -> None:
        """Let trials that had ended go on in a second file of their own: the budget has grown."""
        for state in run.everyone():
            if state.status != "ended" and state.id not in self.trials:
                trial = Trial(EventFile(self.folder / state.id, time), time, state.params)
                trial.shown, trial.looked = set(self._kept(state.id)), state.epoch
                self.trials[state.id] = trial

    def _end_all(self, run: RunState, time: float) -> None:
        for name in list(self.trials):
            if run.find(name).status == "ended":
                self._end(run.find(name), run, time)


def changes(run: RunState) -> bool:
    """Tell whether trials change their params on the way.

    The HParams page keeps the first params that it is told, so it is told the last ones, and only at the end.
    """
    return run.spec.scheduler.kind == "pbt"


def _by_epoch(files: Iterable[str]) -> dict[int, list[str]]:
    """Sort files of `trial.log` by the epoch in their names; others are left out."""
    found: dict[int, list[str]] = {}
    for file in files:
        if match := MEDIUM.fullmatch(file):
            found.setdefault(int(match[1]), []).append(file)
    return found


def _medium(path: Path, name: str) -> list[Any]:
    if path.suffix == ".txt":
        return [events.text(name, path.read_text())]
    if path.suffix == ".png":
        return [events.image(name, path.read_bytes())]
    counts = json.loads(path.read_text())
    return [events.histogram(name, counts)] if counts["count"] else []


def _domain(dimension: SomeDimension) -> events.Domain:
    if not isinstance(dimension, Choice):
        return float(dimension.low), float(dimension.high)
    return [_shown(dimension, value) for value in dimension.values]


def _shown(dimension: SomeDimension | None, value: Any) -> bool | float | str:
    """Turn a param into what the HParams page knows: choices of different types become texts, all of them."""
    values = dimension.values if isinstance(dimension, Choice) else [value]
    if all(isinstance(v, bool) for v in values):
        return bool(value)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return float(value)
    return value if isinstance(value, str) else json.dumps(value)
