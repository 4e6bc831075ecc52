"""Optuna opens the journal: all trials, states, values and params."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from support import free_ports, wait_for

from tuner.core.records import Asked, Ended, Record
from tuner.outputs.study import Study

from .runs_made import MIXED, by_hand, experiment, failed, reported, shown, simulated, suggested
from .services import answers


def opened(folder: Path) -> optuna.Study:
    """Open the journal as optuna-dashboard does."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (name,) = (summary.study_name for summary in optuna.get_all_study_summaries(storage))
    return optuna.load_study(study_name=name, storage=storage)


def journal(folder: Path, *records: Record, close: bool = True) -> list[FrozenTrial]:
    folder.mkdir(exist_ok=True)
    shown(by_hand(experiment(space=MIXED), *records), Study(folder), close=close)
    return opened(folder).trials


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_whole_run(tmp_path: Path, mode: str) -> None:
    spec = experiment(space=MIXED, scheduler={"kind": "asha"}, objective={"metric": "val/score", "mode": mode})
    folder = simulated(tmp_path / "run", spec)
    run = shown(folder, Study(folder))
    study = opened(folder)
    assert (study.study_name, study.metric_names) == ("run", ["val/score"])
    assert study.direction.name == f"{mode.upper()}IMIZE"
    assert run.best is not None
    assert study.best_value == run.best.value
    assert study.best_trial.user_attrs["trial"] == run.best.trial
    states = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    for frozen, trial in zip(study.trials, run.trials.values(), strict=True):
        assert frozen.state == states[str(trial.outcome)]
        assert frozen.intermediate_values == {report.epoch: run.objective(report) for report in trial.reports}
        assert frozen.params == {
            name: json.dumps(value) if isinstance(value, list) else value for name, value in trial.params.items()
        }
        assert frozen.user_attrs["reason"] == trial.reason
        assert frozen.user_attrs["outcome"] == trial.outcome
    assert set(states.values()) == {trial.state for trial in study.trials}


def test_a_live_run(tmp_path: Path) -> None:
    (one, two) = journal(
        tmp_path / "run",
        suggested("t0000", lr=0.1, optimizer=None, widths=[8, 16]),
        reported("t0000", 2, score=0.5),
        suggested("t0001", lr=0.2),
        close=False,
    )
    assert (one.state, one.intermediate_values) == (TrialState.RUNNING, {2: 0.5})
    assert one.params == {"lr": 0.1, "optimizer": None, "widths": "[8, 16]"}
    assert (two.state, two.params) == (TrialState.RUNNING, {"lr": 0.2})


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    (only, better, zero) = journal(
        tmp_path / "run",
        suggested("t0000", lr=0.1),
        reported("t0000", 1, end="diverged", reason="score is nan", score=math.nan),
        suggested("t0001", lr=0.1),
        reported("t0001", 1, score=0.5),
        reported("t0001", 2, end="diverged", score=math.inf),
        suggested("t0002", lr=0.1),
        reported("t0002", 1, end="finished", score=0.0),
    )
    assert (only.state, only.value, only.intermediate_values) == (TrialState.FAIL, None, {})
    assert only.user_attrs == {"trial": "t0000", "outcome": "diverged", "reason": "score is nan"}
    assert (better.state, better.intermediate_values) == (TrialState.FAIL, {1: 0.5})
    assert (zero.state, zero.value) == (TrialState.COMPLETE, 0.0)


def test_failed_and_stopped_trials(tmp_path: Path) -> None:
    trials = journal(
        tmp_path / "run",
        suggested("t0000", lr=0.1),
        failed("t0000", "ValueError: „too“\nmany"),
        suggested("t0001", lr=0.1),
        Ended(trial="t0001", outcome="finished", reason="returned"),
        suggested("t0002", lr=0.1),
        Asked(trial="t0002"),
        suggested("t0003", lr=0.1),
        suggested("t0004", lr=0.1),
        Asked(trial=None),
    )
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 5
    assert trials[0].user_attrs["reason"] == "ValueError: „too“\nmany"
    assert [trial.user_attrs["outcome"] for trial in trials[2:]] == ["killed"] * 3


def test_times_are_those_of_the_ledger(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", experiment(budget={"trials": 3, "epochs": 2}))
    run = shown(folder, Study(folder))
    ends = {trial.user_attrs["trial"]: trial.datetime_complete for trial in opened(folder).trials}
    for name, moment in ends.items():
        assert moment is not None
        assert moment.astimezone(UTC) == datetime.fromtimestamp(run.trials[name].reports[-1].time, UTC)


def test_a_clone_is_told_of(tmp_path: Path) -> None:
    spec = experiment(budget={"trials": 6, "epochs": 12}, scheduler={"kind": "pbt", "interval_epochs": 3})
    folder = simulated(tmp_path / "run", spec, slots=6)
    shown(folder, Study(folder))
    attributes = [item for trial in opened(folder).trials for item in trial.user_attrs.items()]
    told = [text for key, text in attributes if key.startswith("epoch")]
    assert told
    assert all("goes on from t" in text for text in told)


@pytest.mark.slow
def test_optuna_dashboard_opens_it(tmp_path: Path) -> None:
    spec = experiment(space=MIXED, scheduler={"kind": "asha"})
    run = shown(folder := simulated(tmp_path / "run", spec), Study(folder))
    (port,) = free_ports(1)
    board = Path(sys.executable).parent / "optuna-dashboard"
    words = [str(board), "--port", str(port), str(folder / "study.journal")]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as server:
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/dashboard/") or server.poll() is not None)
            assert server.poll() is None, (tmp_path / "log").read_text()
            (study,) = asked(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
            told = asked(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}?after=0")
        finally:
            server.terminate()
    assert (study["study_name"], study["directions"]) == ("run", ["maximize"])
    assert told["objective_names"] == ["score"]
    assert run.best is not None
    assert [trial["values"] for trial in told["best_trials"]] == [[run.best.value]]
    states = {"finished": "Complete", "stopped": "Pruned"}
    assert [trial["state"] for trial in told["trials"]] == [states[str(t.outcome)] for t in run.trials.values()]


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_a_second_driver_begins_anew(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", experiment())
    shown(folder, Study(folder))
    shown(folder, Study(folder))
    assert len(opened(folder).trials) == 12
