"""Optuna's journal of the run, which `optuna-dashboard` opens."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.core.records import Ended, Header, Outcome, Record, Report, Suggested
from tuner.core.state import RunState, TrialState as Trial
from tuner.spec.space import Choice, Float, Int

NAME = "study.journal"
FLUSH_SECONDS = 1.0
STATES: dict[Outcome, TrialState] = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
"""All other outcomes are failures."""


class Study:
    """Writes the journal; begins anew whenever a driver starts."""

    def __init__(self, run_folder: Path) -> None:
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self.backend = Buffered(run_folder / NAME)
        self.storage = JournalStorage(self.backend)
        self.study = 0
        self.ids: dict[str, int] = {}

    def see(self, record: Record, run: RunState) -> None:
        """Write what the record adds."""
        if isinstance(record, Header):
            direction = StudyDirection.MAXIMIZE if run.spec.objective.mode == "max" else StudyDirection.MINIMIZE
            self.study = self.storage.create_new_study([direction], run.name)
        elif isinstance(record, Suggested):
            self._begin(record, run)
        elif isinstance(record, Report):
            self._report(record, run)
        if isinstance(record, Report | Ended) and run.trials[record.trial].status == "ended":
            self._end(run.trials[record.trial], run)
        self.backend.flush(after=FLUSH_SECONDS)

    def close(self, run: RunState) -> None:
        """Put everything on disk."""
        for trial in run.having("ended"):
            self._end(trial, run)
        self.backend.flush()

    def _begin(self, record: Suggested, run: RunState) -> None:
        distributions = {name: _distribution(run.spec.space[name]) for name in record.params}
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.fromtimestamp(record.time, UTC).replace(tzinfo=None),
            datetime_complete=None,
            params={name: _shown(run.spec.space[name], value) for name, value in record.params.items()},
            distributions=distributions,
            user_attrs={"trial": record.trial},
            system_attrs={},
            intermediate_values={},
        )
        self.ids[record.trial] = self.storage.create_new_trial(self.study, template)

    def _report(self, record: Report, run: RunState) -> None:
        value = run.objective(record)
        if math.isfinite(value):
            self.storage.set_trial_intermediate_value(self.ids[record.trial], record.epoch, value)

    def _end(self, trial: Trial, run: RunState) -> None:
        number = self.ids.pop(trial.id, None)
        if number is None or trial.outcome is None:
            return
        self.storage.set_trial_user_attr(number, "outcome", trial.outcome)
        self.storage.set_trial_user_attr(number, "reason", trial.reason)
        values = [value for report in trial.reports if math.isfinite(value := run.objective(report))]
        state = STATES.get(trial.outcome, TrialState.FAIL)
        if not values:
            state = TrialState.FAIL
        best = max(values, key=run.spec.objective.score) if values else None
        self.storage.set_trial_state_values(number, state, None if state == TrialState.FAIL else [best or 0.0])


class Buffered(BaseJournalBackend):
    """A journal file with one writer: Optuna's own locks and syncs the file for every entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs: list[dict[str, Any]] = []
        self._written = 0
        self._flushed = time.monotonic()
        path.write_bytes(b"")

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Give back what was appended."""
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep the entries for the next flush."""
        self.logs.extend(logs)

    def flush(self, after: float = 0.0) -> None:
        """Write whole lines, if the last time is so many seconds ago."""
        if time.monotonic() - self._flushed < after:
            return
        lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in self.logs[self._written :])
        with self.path.open("ab") as file:
            file.write(lines.encode())
        self._written, self._flushed = len(self.logs), time.monotonic()


def _distribution(dimension: Float | Int | Choice) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution([_shown(dimension, value) for value in dimension.values])
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _shown(dimension: Float | Int | Choice, value: Any) -> Any:
    """Turn a choice that Optuna has no type for into text."""
    plain = isinstance(value, bool | int | float | str) or value is None
    return value if plain or not isinstance(dimension, Choice) else json.dumps(value)
