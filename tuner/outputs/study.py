"""Optuna's journal of the run, which `optuna-dashboard` opens."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.core import standing
from tuner.core.records import Asked, Ended, Header, Record, Report, Suggested
from tuner.core.search.earlier import distribution
from tuner.core.search.outcomes import STATES
from tuner.core.state import RunState
from tuner.core.trial import TrialState as Trial
from tuner.spec.space import Choice, Float, Int
from tuner.storage import append_whole, is_full

NAME = "study.journal"
METRIC_NAMES = "study:metric_names"
"""Where Optuna's own `set_metric_names` puts them."""
CONSTRAINTS = "constraints"
"""Where Optuna's own `Trial.set_constraint` puts them."""


class Study:
    """Writes the journal; begins anew with the first record that a driver hands over."""

    def __init__(self, run_folder: Path) -> None:
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self.backend = Journal(run_folder / NAME)
        self.storage = JournalStorage(self.backend)
        self.study = 0
        self.ids: dict[str, int] = {}

    def see(self, record: Record, run: RunState) -> None:
        """Write what the record adds."""
        self.backend.moment = record.time
        if isinstance(record, Header):
            self.backend.begin()
            goals = run.spec.objectives
            modes = [StudyDirection.MAXIMIZE if goal.mode == "max" else StudyDirection.MINIMIZE for goal in goals]
            self.study = self.storage.create_new_study(modes, run.name)
            self.storage.set_study_system_attr(self.study, METRIC_NAMES, [goal.metric for goal in goals])
        elif isinstance(record, Suggested):
            self._begin(record, run)
        elif isinstance(record, Report):
            self._report(record, run)
        if isinstance(record, Asked) or run.closed:
            self._end_all(run)
        elif isinstance(record, Report | Ended) and record.trial in self.ids and run.find(record.trial).outcome:
            self._end(run.trials[record.trial], run)
        self.backend.flush()

    def close(self, run: RunState) -> None:
        """Put everything on disk."""
        self.backend.flush()

    def _begin(self, record: Suggested, run: RunState) -> None:
        distributions = {name: _distribution(run.spec.space[name]) for name in record.params}
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.fromtimestamp(record.time),  # Optuna takes it for local time.
            datetime_complete=None,
            params={name: _shown(run.spec.space[name], value) for name, value in record.params.items()},
            distributions=distributions,
            user_attrs={"trial": record.trial},
            system_attrs={},
            intermediate_values={},
        )
        self.ids[record.trial] = self.storage.create_new_trial(self.study, template)

    def _report(self, record: Report, run: RunState) -> None:
        if record.trial not in self.ids:
            return
        value, clone = run.objective(record), record.decision.clone
        if math.isfinite(value) and len(run.spec.objectives) == 1:  # Optuna knows no others on the way
            self.storage.set_trial_intermediate_value(self.ids[record.trial], record.epoch, value)
        if clone is not None:
            # Optuna has no params that change on the way.
            text = f"goes on from {clone.donor} with {json.dumps(clone.params)}"
            self.storage.set_trial_user_attr(self.ids[record.trial], f"epoch {record.epoch}", text)

    def _end_all(self, run: RunState) -> None:
        for name in list(self.ids):
            self._end(run.trials[name], run)

    def _end(self, trial: Trial, run: RunState) -> None:
        if trial.outcome is None or trial.id not in self.ids:
            return  # Optuna lets no trial that is over go on, as a larger budget does.
        number = self.ids.pop(trial.id)
        self.storage.set_trial_user_attr(number, "outcome", trial.outcome)
        self.storage.set_trial_user_attr(number, "reason", trial.reason)
        state = TrialState.COMPLETE if trial.breaks else STATES[trial.outcome]
        if trial.best is None or trial.outcome == "diverged" or state == TrialState.FAIL:
            self.storage.set_trial_state_values(number, TrialState.FAIL, None)
            return
        for limit, excess in standing.excesses(run.spec, trial.best.metrics).items():
            self.storage.set_trial_system_attr(number, f"{CONSTRAINTS}:{limit}", excess)
        self.storage.set_trial_state_values(number, state, list(standing.values(run.spec, trial.best.metrics).values()))


class Journal(BaseJournalBackend):
    """A journal file with one writer: Optuna's own locks and syncs the file for every entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs: list[dict[str, Any]] = []
        """What is not written yet."""
        self.moment = 0.0
        """When that happened which is being written: on a resume it is not now."""
        self._written = 0
        """How many entries are, and gone from memory: Optuna has read them by then."""

    def begin(self) -> None:
        """Begin anew: what was written by an earlier driver is written again."""
        self.path.write_bytes(b"")

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Give back what was appended."""
        return self.logs[max(0, log_number_from - self._written) :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep the entries for the next flush."""
        for entry in logs:
            if entry.get("datetime_complete"):
                entry["datetime_complete"] = datetime.fromtimestamp(self.moment, UTC).isoformat(timespec="microseconds")
        self.logs.extend(logs)

    def flush(self) -> None:
        """Write whole lines, all at once: a reader of a live run never sees a part of a trial's end.

        What finds no room on the disk waits for the next time.
        """
        if not self.logs:
            return
        lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in self.logs)
        try:
            append_whole(self.path, lines.encode())
        except OSError as error:
            if not is_full(error):
                raise
        else:
            self._written += len(self.logs)
            self.logs.clear()


def _distribution(dimension: Float | Int | Choice) -> BaseDistribution:
    values = dimension.values if isinstance(dimension, Choice) else ()
    return distribution(dimension, [_shown(dimension, value) for value in values])


def _shown(dimension: Float | Int | Choice, value: Any) -> Any:
    """Turn a choice that Optuna has no type for into text."""
    plain = isinstance(value, bool | int | float | str) or value is None
    return value if plain or not isinstance(dimension, Choice) else json.dumps(value)
