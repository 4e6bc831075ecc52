"""Trials at a real MLflow server: a run for each, gone on with, and told where it never answers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.core.records import Asked
from tuner.ledger import read

from .runs_logged import METRIC, logged, spec
from .runs_made import MIXED, by_hand, reported, shown, simulated, suggested, written
from .services import mlflow_server, silent_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


def at_mlflow(url: str, name: str) -> tuple[Any, dict[str, Any], dict[str, list[Any]]]:
    """Ask the server: the run of the whole, the trials' runs by name, and the history of each one's objective."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=url)
    found = client.get_experiment_by_name(name)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    (parent,) = [run for run in runs if "tuner.trial" not in run.data.tags]
    trials = {run.info.run_name: run for run in runs if run is not parent}
    assert len(trials) == len(runs) - 1
    histories = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, "val/score _1"))
        for name, run in trials.items()
    }
    return parent, trials, histories


def test_mlflow_has_a_run_for_each_trial(tmp_path: Path, server: str) -> None:
    folder = simulated(tmp_path / "run", spec({"kind": "mlflow", "uri": server, "experiment": "whole"}))
    for _ in range(2):  # a resume finds them
        run, said = logged(folder)
        assert not said
        parent, trials, histories = at_mlflow(server, "whole")
        assert (parent.info.run_name, parent.info.status) == ("run", "FINISHED")
        assert trials.keys() == run.trials.keys()
        for name, trial in run.trials.items():
            there = trials[name]
            assert there.data.params == {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in {"batch": 64, **trial.params}.items()
            }
            assert histories[name] == [(report.epoch, run.objective(report)) for report in trial.reports]
            assert there.info.status == "FINISHED"
            assert there.data.tags["tuner.outcome"] == trial.outcome
            assert there.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.best is not None
        assert [name for name, there in trials.items() if "tuner.best" in there.data.tags] == [run.best.trial]
        assert parent.data.tags["tuner.best"] == run.best.trial


def test_mlflow_goes_on_where_the_last_driver_ended(tmp_path: Path, server: str) -> None:
    logger = {"kind": "mlflow", "uri": server, "experiment": "resumed"}
    records = list(read(simulated(tmp_path / "all", spec(logger))))
    half = written(tmp_path / "run", records[: len(records) // 2])
    first, said = logged(half)
    parent, trials, histories = at_mlflow(server, "resumed")
    assert parent.info.status == "KILLED"
    assert {name for name, there in trials.items() if there.info.status == "KILLED"} == {
        trial.id for trial in first.having("running")
    }
    session = replace(records[1], time=time.time() + 5)
    rest = [replace(record, time=time.time() + 5) for record in records[len(records) // 2 :]]
    run, more = logged(half, [*read(half), session, *rest])
    assert not said + more
    parent, trials, histories = at_mlflow(server, "resumed")
    assert (parent.info.status, {there.info.status for there in trials.values()}) == ("FINISHED", {"FINISHED"})
    assert histories == {
        name: [(report.epoch, run.objective(report)) for report in trial.reports] for name, trial in run.trials.items()
    }


def test_mlflow_is_told_of_failures_and_of_values_that_are_not_finite(tmp_path: Path, server: str) -> None:
    (folder := tmp_path / "run").mkdir()
    records = by_hand(
        spec({"kind": "mlflow", "uri": server, "experiment": "odd"}),
        suggested("t0000", lr=0.1, widths=[8, 16]),
        reported("t0000", 1, **{METRIC: 0.5, "../x//y": 1.0}),
        reported("t0000", 2, end="diverged", reason="„nan“", **{METRIC: math.nan}),
        suggested("t0001", lr=0.2),
        Asked(trial="t0001"),
    )
    _, said = logged(folder, records)
    assert not said
    _, trials, histories = at_mlflow(server, "odd")
    assert (trials["t0000"].info.status, trials["t0001"].info.status) == ("FAILED", "KILLED")
    assert trials["t0000"].data.tags["tuner.reason"] == "„nan“"
    assert trials["t0000"].data.metrics["x/y"] == 1.0
    assert histories["t0000"][0] == (1, 0.5)
    assert math.isnan(histories["t0000"][1][1])


def test_a_server_that_never_answers_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import mlflow_runs

    monkeypatch.setattr(mlflow_runs.MlflowRuns, "patience", 600.0)
    monkeypatch.setattr(mlflow_runs, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(mlflow_runs, "TRIES", 0)
    before = timeouts()
    with silent_server() as url:
        _, said = logged(simulated(tmp_path / "run", spec({"kind": "mlflow", "uri": url})))
    assert len(said) == 2
    assert said[0].startswith("MLflow: is left alone for a while, and the run goes on: ")
    missing = "t0000, t0001, t0002, t0003, t0004 and 1 more are missing"
    fix = f"Send it with: tuner --resume {tmp_path / 'run'}"
    assert said[1] == f"MLflow: does not have all of the run: {missing}. {fix}"
    assert timeouts() == before  # a notebook that uses MLflow itself has its own


def timeouts() -> list[Any]:
    from mlflow import environment_variables as of

    return [of.MLFLOW_HTTP_REQUEST_TIMEOUT.get(), of.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()]


def test_requests_to_mlflow_hold_as_much_as_a_server_takes() -> None:
    from tuner.outputs.loggers import mlflow_runs

    space = {f"x{i}": MIXED["lr"] for i in range(40)}
    parts = {"space": space, "scheduler": {"kind": "pbt"}, "budget": {"trials": 4, "epochs": 50}}
    params = dict.fromkeys(space, 0.1)
    reports = [reported("t0000", epoch, **{METRIC: 0.5}) for epoch in range(1, 51)]
    run = shown(by_hand(spec(**parts), suggested("t0000", **params), *reports))
    trial = run.trials["t0000"]
    sizes = [len(part) for part in mlflow_runs._batches(trial.reports, trial, run)]
    assert sum(sizes) == 50
    assert max(sizes) * (len(params) + 1) + 1 <= 1000
