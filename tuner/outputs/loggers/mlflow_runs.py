"""MLflow: a run for each trial, nested below one run for all of them."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow import environment_variables as mlflow_settings
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from tuner.core.records import Outcome, Report
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.outputs.loggers.metrics import best_value, values
from tuner.spec.loggers import Mlflow

STATUS: dict[Outcome | None, str] = {None: "RUNNING", "finished": "FINISHED", "stopped": "FINISHED", "killed": "KILLED"}
"""All other outcomes are failures."""
RUN, TRIAL, REPORTS, OUTCOME, REASON, BEST = (
    "tuner.run", "tuner.trial", "tuner.reports", "tuner.outcome", "tuner.reason", "tuner.best",
)  # fmt: skip
"""Tags: by the first two a resume finds what is there, and by the third how much of it."""
PARENT = "mlflow.parentRunId"
MOST_METRICS = 900
"""In one request; a server takes 1,000 at most."""
MOST_LETTERS = 4000
ANSWER_SECONDS, TRIES = 10, 1
"""How long a server may take to answer, and how often it is asked again at once; MLflow's own are 120 and 7."""


@dataclass(slots=True)
class There:
    """What MLflow has of a trial."""

    run_id: str
    status: str = "RUNNING"
    reports: int = 0
    outcome: str = ""
    has_params: bool = False
    is_best: bool = False


class MlflowRuns:
    """Sends trials to MLflow; what is there already is found by its tags, so a resume sends nothing twice."""

    name = "MLflow"
    patience = 15.0

    def __init__(self, logger: Mlflow) -> None:
        self.logger = logger
        self.client: Any = None
        self._identity = self._experiment = self._parent = ""
        self._there: dict[str, There] = {}

    def begin(self, run: RunState, identity: str) -> None:
        """Find the experiment and what it holds of this run, or make them."""
        with _soon():
            self._begin(run, identity)

    def _begin(self, run: RunState, identity: str) -> None:
        self._identity, self.client = identity, MlflowClient(tracking_uri=self.logger.uri)
        found = self.client.get_experiment_by_name(self.logger.experiment)
        self._experiment = found.experiment_id if found else self.client.create_experiment(self.logger.experiment)
        for there in self._find():
            self._remember(there)
        if not self._parent:
            self._parent = self._create(run.name, {"tuner.trainable": run.spec.trainable})
        elif not run.finished():
            self.client.update_run(self._parent, status="RUNNING")

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        """Log the reports that are new, and the end."""
        with _soon():
            self._update(trial, run)
        yield

    def _update(self, trial: TrialState, run: RunState) -> None:
        there = self._there.get(trial.id)
        if there is None:
            made = self._create(trial.id, {TRIAL: trial.id, PARENT: self._parent})
            there = self._there[trial.id] = There(made)
        if not there.has_params:
            params = {**run.spec.fixed, **trial.params_of(0)}
            self.client.log_batch(there.run_id, params=[Param(name, _text(value)) for name, value in params.items()])
            there.has_params = True
        for reports in _batches(trial.reports[there.reports :], trial, run):
            self._log(there, reports, trial, run)
        self._settle(there, trial)
        if run.best is not None:
            self._mark(run.best.trial)

    def finish(self, run: RunState) -> Iterator[None]:
        """Say how the run stands; trials that may go on later are no longer running."""
        for name, there in self._there.items():
            if there.status == "RUNNING" and run.find(name).outcome is None:
                with _soon():
                    self._terminate(there, "KILLED", None)
                yield
        with _soon():
            self._finish(run)
        yield

    def _finish(self, run: RunState) -> None:
        if run.best is not None:
            metric = _metric(f"best/{run.spec.objective.metric}", run.best.value, 0, 0)
            self.client.log_batch(self._parent, [metric], tags=[RunTag(BEST, run.best.trial)])
        self.client.set_terminated(self._parent, "FINISHED" if run.finished() else "KILLED")

    def _find(self) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs([self._experiment], f"tags.`{RUN}` = '{self._identity}'", page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _remember(self, found: Run) -> None:
        tags, about = found.data.tags, found.info
        if TRIAL not in tags:
            self._parent = about.run_id
            return
        self._there[tags[TRIAL]] = There(
            about.run_id, about.status, int(tags.get(REPORTS, 0)), tags.get(OUTCOME, ""), bool(found.data.params),
            BEST in tags,
        )  # fmt: skip

    def _create(self, name: str, tags: dict[str, str]) -> str:
        made = self.client.create_run(self._experiment, tags={RUN: self._identity, **tags}, run_name=name)
        return str(made.info.run_id)

    def _log(self, there: There, reports: Sequence[Report], trial: TrialState, run: RunState) -> None:
        """Log some reports, and how many there are by then, in one request."""
        metrics = [
            _metric(name, value, report.epoch, report.time)
            for report in reports
            for name, value in values(report, trial, run).items()
        ]
        if (best := best_value(trial, run)) is not None:
            metrics.append(_metric(f"best/{run.spec.objective.metric}", best, reports[-1].epoch, reports[-1].time))
        count = there.reports + len(reports)
        self.client.log_batch(there.run_id, metrics, tags=[RunTag(REPORTS, str(count))])
        there.reports = count

    def _settle(self, there: There, trial: TrialState) -> None:
        """Let the run's status be that of the trial, which may go on after its end when the budget grows."""
        outcome, status = trial.outcome or "", STATUS.get(trial.outcome, "FAILED")
        if there.outcome != outcome:
            tags = [RunTag(OUTCOME, outcome), RunTag(REASON, trial.reason[:MOST_LETTERS])]
            self.client.log_batch(there.run_id, tags=tags)
            there.outcome = outcome
        if there.status != status and status == "RUNNING":
            self.client.update_run(there.run_id, status=status)
            there.status = status
        elif there.status != status:
            self._terminate(there, status, trial.reports[-1].time if trial.reports else None)

    def _terminate(self, there: There, status: str, time: float | None) -> None:
        self.client.set_terminated(there.run_id, status, None if time is None else _milliseconds(time))
        there.status = status

    def _mark(self, best: str) -> None:
        """Let the best trial, and no other one, have the tag."""
        for name, there in self._there.items():
            if there.is_best and name != best:
                self.client.delete_tag(there.run_id, BEST)
                there.is_best = False
        if best in self._there and not self._there[best].is_best:
            self.client.set_tag(self._there[best].run_id, BEST, "true")
            self._there[best].is_best = True


@contextmanager
def _soon() -> Iterator[None]:
    """Have MLflow give up soon for as long as it works for us; the process may be a notebook that uses it too.

    Set where MLflow keeps its defaults, since environment variables would reach the user's trials too.
    """
    settings = (mlflow_settings.MLFLOW_HTTP_REQUEST_TIMEOUT, mlflow_settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES)
    before = [setting.default for setting in settings]
    settings[0].default, settings[1].default = ANSWER_SECONDS, TRIES
    try:
        yield
    finally:
        settings[0].default, settings[1].default = before


def _batches(reports: Sequence[Report], trial: TrialState, run: RunState) -> Iterator[Sequence[Report]]:
    """Divide reports so that each part goes into one request, with the best value beside it."""
    size = max(1, MOST_METRICS // max((len(values(report, trial, run)) + 1 for report in reports), default=1))
    return (reports[i : i + size] for i in range(0, len(reports), size))


def _metric(name: str, value: float, epoch: int, time: float) -> Metric:
    return Metric(_allowed(name), value, _milliseconds(time), epoch)


def _allowed(name: str) -> str:
    """Replace what MLflow takes in no name."""
    return posixpath.normpath(re.sub(r"[^\w.\- :/]", "_", name)).lstrip("./") or "_"


def _milliseconds(time: float) -> int:
    return int(time * 1000)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:MOST_LETTERS]
