"""`loggers:`: a run's curves as CSV, its trials at Weights & Biases (offline) and at a real MLflow server."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import wait_for

from tuner.core.records import Asked, Record, Report
from tuner.core.state import RunState, replay
from tuner.core.trial import TrialState
from tuner.ledger import read
from tuner.outputs.loggers import uploader
from tuner.outputs.loggers.asked import asked
from tuner.outputs.loggers.uploader import Uploader
from tuner.spec.experiment import Experiment
from tuner.spec.load import from_mapping

from .runs_made import MIXED, USUAL, by_hand, experiment, reported, shown, simulated, suggested, trainable, written
from .services import mlflow_server, silent_server, wandb_records

pytestmark = pytest.mark.slow

METRIC = "val/score @1"
WANDB = {"kind": "wandb", "project": "p", "mode": "offline"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


def spec(*loggers: Any, **parts: Any) -> Experiment:
    objective = {"metric": METRIC, "mode": "max"}
    return experiment(
        **{
            "budget": {"trials": 6, "epochs": 9},
            "space": MIXED,
            "fixed": {"batch": 64},
            "scheduler": {"kind": "asha"},
            "objective": objective,
            **parts,
        },
        loggers=list(loggers),
    )


def logged(folder: Path, records: Any = None, close: bool = True) -> tuple[RunState, list[str]]:
    """Let the loggers of a run see it; returns what users were told."""
    said: list[str] = []
    source = list(read(folder)) if records is None else records
    loggers = Experiment.model_validate(source[0].spec).loggers
    return shown(source, *asked(loggers, folder, said.append), close=close), said


# ---------------------------------------------------------------------- CSV


def test_the_curves_hold_all_that_was_reported(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    records = by_hand(
        spec("csv"),
        suggested("t0000", lr=0.1),
        reported("t0000", 1, **{METRIC: 0.1, 'a "b", c': math.nan}),
        suggested("t0001", lr=0.2),
        reported("t0001", 2, **{METRIC: 1 / 3}),
        reported("t0000", 2, end="diverged", **{METRIC: -math.inf}),
    )
    for _ in range(2):  # the second driver begins anew
        logged(folder, records)
        with (folder / "curves.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [(row["trial"], row["epoch"], row["metric"], float(row["value"])) for row in lines[::3]] == [
            ("t0000", "1", METRIC, 0.1),
            ("t0000", "2", METRIC, -math.inf),
        ]
        assert (lines[1]["metric"], lines[1]["value"]) == ('a "b", c', "nan")
        assert float(lines[2]["value"]) == 1 / 3


# ---------------------------------------------------------------------- Weights & Biases


def offline(folder: Path) -> dict[str, dict[str, Any]]:
    """Read each trial's W&B run, as soon as its end is written; there must be one folder for each."""
    found = {}
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        wait_for(lambda file=file: any(record.WhichOneof("record_type") == "exit" for record in wandb_records(file)))
        one: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None}
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                one |= {"name": record.run.display_name, "group": record.run.run_group, "id": record.run.run_id,
                        "project": record.run.project, "tags": list(record.run.tags)}  # fmt: skip
                one["config"] |= values(record.run.config.update)
            elif kind == "config":
                one["config"] |= values(record.config.update)
            elif kind == "history":
                one["history"].append(values(record.history.item))
            elif kind == "summary":
                one["summary"] |= values(record.summary.update)
            elif kind == "exit":
                one["exit"] = record.exit.exit_code
        assert one["name"] not in found
        found[one["name"]] = one
    return found


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_has_a_run_for_each_trial(tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", spec(WANDB))
    for _ in range(2):  # a resume writes the same runs anew
        run, said = logged(folder)
        assert not said
        there = offline(folder)
        assert there.keys() == run.trials.keys()
        for name, trial in run.trials.items():
            one = there[name]
            assert (one["group"], one["project"]) == ("run", "p")
            assert {key: one["config"][key] for key in ("batch", *trial.params)} == {"batch": 64, **trial.params}
            assert [(point["epoch"], point[METRIC], point["_step"]) for point in one["history"]] == [
                (report.epoch, run.objective(report), number) for number, report in enumerate(trial.reports)
            ]
            assert (one["summary"]["outcome"], one["exit"]) == (trial.outcome, 0)
            assert one["summary"][f"best/{METRIC}"] == max(run.objective(report) for report in trial.reports)
        assert run.best is not None
        assert [name for name, one in there.items() if "best" in one["tags"]] == [run.best.trial]
    assert len({one["id"] for one in there.values()}) == len(run.trials)


def test_wandb_sees_a_trial_go_on_with_other_params_and_after_its_end(tmp_path: Path) -> None:
    pbt = {"kind": "pbt", "interval_epochs": 3}
    parts = {"space": {"x": MIXED["lr"]}, "scheduler": pbt, "budget": {"trials": 6, "epochs": 9}}
    folder = simulated(tmp_path / "run", spec(WANDB, **parts), slots=6)
    records = [*read(folder), Asked(budget={"epochs": 12}), reported("t0000", 10, **{METRIC: 0.5})]
    run, said = logged(folder, records)
    assert not said
    there = offline(folder)
    cloned = next(trial for trial in run.trials.values() if trial.generation)
    assert there[cloned.id]["config"]["x"] == cloned.params["x"]
    assert [point["params/x"] for point in there[cloned.id]["history"]] == [
        cloned.params_of(report.generation)["x"] for report in cloned.reports
    ]
    assert len(there["t0000"]["history"]) == len(run.trials["t0000"].reports)
    assert there["t0000"]["summary"]["outcome"] == run.trials["t0000"].status


def test_wandb_without_a_key_or_a_server_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    monkeypatch.setattr(wandb_runs.WandbRuns, "patience", 600.0)
    monkeypatch.setattr(wandb_runs, "INIT_SECONDS", 1.0)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with silent_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        folder = simulated(tmp_path / "run", spec({"kind": "wandb"}, budget={"trials": 2, "epochs": 2}))
        _, said = logged(folder)
        assert len(said) == 2
        assert "No API key configured" in said[0]
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        _, said = logged(folder)
        assert "W&B: does not have all of the run: t0000, t0001 are missing" in said[-1]
        assert not (folder / "wandb" / "sent.jsonl").exists()


class OfWandb:
    """`wandb` with a server that takes in all: what goes there is written to files, as offline."""

    def __init__(self, wandb: Any) -> None:
        self.wandb, self.begun = wandb, list[str]()
        self.refused: set[str] = set()
        self.cut_off = False
        """Whether W&B does not take in in time what is left of a run at its end."""

    def init(self, **given: Any) -> Any:
        if given["name"] in self.refused:
            raise OSError("the server does not take it")
        self.begun.append(given["name"])
        made = self.wandb.init(**{**given, "mode": "offline"})
        assert given["settings"].finish_timeout_raises
        if self.cut_off:
            end = made.finish
            made.finish = lambda **how: end(**how) or self.fail()
        return made

    def fail(self) -> None:
        raise TimeoutError("it is not all there yet")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wandb, name)


def test_wandb_is_not_sent_again_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    there = OfWandb(wandb_runs.wandb)
    monkeypatch.setattr(wandb_runs, "wandb", there)
    whole = list(read(simulated(tmp_path / "all", spec({"kind": "wandb"}))))
    folder = written(tmp_path / "run", whole[: 2 * len(whole) // 3])
    partly = replay(list(read(folder)))
    assert partly.best is not None
    bad = next(name for name in partly.trials if name != partly.best.trial)
    there.refused = {bad}
    before, said = logged(folder)
    assert said[0] == f"W&B: cannot take {bad}: the server does not take it"
    assert said[1].startswith(f"W&B: does not have all of the run: {bad} is missing. Send it with: ")
    assert sorted(there.begun) == sorted([*(before.trials.keys() - {bad}), partly.best.trial])  # again, for its tag
    there.begun, there.refused = [], set()
    whole = [*read(folder), *whole[2 * len(whole) // 3 :]]
    run, said = logged(folder, whole)
    assert not said
    assert run.best is not None
    new = {name for name, trial in run.trials.items() if name == bad or stand(trial) != stand(before.trials.get(name))}
    assert bad in new < run.trials.keys()
    tagged = {run.best.trial, partly.best.trial} if run.best.trial != partly.best.trial else set()
    assert set(there.begun) == new | tagged
    there.begun = []
    assert logged(folder, whole)[1] == there.begun == []
    points = [
        values(record.history.item)
        for file in (folder / "wandb").glob("offline-run-*/*.wandb")
        for record in wandb_records(file)
        if record.WhichOneof("record_type") == "history"
    ]
    assert len(points) == sum(len(trial.reports) for trial in run.trials.values())  # each report once


def test_what_wandb_has_not_taken_in_whole_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.outputs.loggers import wandb_runs

    there = OfWandb(wandb_runs.wandb)
    monkeypatch.setattr(wandb_runs, "wandb", there)
    folder = simulated(tmp_path / "run", spec({"kind": "wandb"}, budget={"trials": 1, "epochs": 2}))
    there.cut_off = True
    assert logged(folder)[1][0].endswith(": it is not all there yet")
    there.begun, there.cut_off = [], False
    assert not logged(folder)[1]
    assert "t0000" in there.begun
    assert wandb_runs.WandbRuns.patience > max(wandb_runs.INIT_SECONDS, wandb_runs.FINISH_SECONDS)


def stand(trial: TrialState | None) -> Any:
    return trial and (len(trial.reports), trial.outcome)


# ---------------------------------------------------------------------- MLflow


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


# ---------------------------------------------------------------------- the thread between


class Service:
    """A service that a test can break."""

    name = "It"

    def __init__(self, patience: float = 600.0) -> None:
        self.patience = patience
        self.works, self.hangs = True, threading.Event()
        self.refused: set[str] = set()
        self.hangs.set()
        self.began = self.finished = 0
        self.reports: dict[str, int] = {}

    def begin(self, run: RunState, identity: str) -> None:
        self.began += 1

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        self.hangs.wait()
        if not self.works or trial.id in self.refused:
            raise OSError("gone\naway")
        self.reports[trial.id] = len(trial.reports)
        yield

    def finish(self, run: RunState) -> Iterator[None]:
        self.finished += 1
        yield


def lively(*records: Record) -> list[Record]:
    return [replace(record, time=time.time() + 5) for record in by_hand(spec(), *records)]


def test_what_a_service_missed_is_sent_when_it_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader, "FIRST_REST", 0.01)
    said: list[str] = []
    service = Service()
    service.works = False
    one = Uploader(service, tmp_path, said.append)
    run = shown(lively(suggested("t0000", lr=0.1), suggested("t0001", lr=0.1)), one, close=False)
    wait_for(lambda: one._fails > 3)
    assert said == ["It: is left alone for a while, and the run goes on: gone away"]
    service.works = True
    wait_for(lambda: len(said) == 2)
    assert said[1] == "It: answers again, and has all that it missed"
    assert service.reports == {"t0000": 0, "t0001": 0}
    one.close(run)
    assert (service.began, service.finished, len(said)) == (1, 1, 2)


def test_a_trial_that_a_service_does_not_take_holds_up_no_other(tmp_path: Path) -> None:
    said: list[str] = []
    service = Service()
    service.refused = {"t0001"}
    one = Uploader(service, tmp_path, said.append)
    for record in lively(*(suggested(f"t000{i}", lr=0.1) for i in range(4))):
        one.see(record, one.run)
    wait_for(lambda: service.reports.keys() == {"t0000", "t0002", "t0003"})
    for i in (1, 3):
        one.see(replace(reported(f"t000{i}", 1, **{METRIC: 0.5}), time=time.time() + 5), one.run)
    wait_for(lambda: service.reports["t0003"] == 1)  # while the other one has its rest of half a minute
    one.close(one.run)
    fix = f"Send it with: tuner --resume {tmp_path}"
    assert said == ["It: cannot take t0001: gone away", f"It: does not have all of the run: t0001 is missing. {fix}"]
    assert service.finished == 1


def test_each_step_of_the_end_is_progress(tmp_path: Path) -> None:
    moved: list[float] = []

    class Slow(Service):
        def finish(self, run: RunState) -> Iterator[None]:
            for _ in range(4):
                moved.append(one._moved)
                yield

    one = Uploader(Slow(), tmp_path, lambda text: None)
    shown(lively(suggested("t0000", lr=0.1)), one)
    assert moved == sorted(set(moved))
    assert len(moved) == 4


def test_a_service_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    service = Service(patience=0.05)
    service.hangs.clear()
    one = Uploader(service, tmp_path, said.append)
    shown(lively(suggested("t0000", lr=0.1)), one)
    fix = f"Send it with: tuner --resume {tmp_path}"
    assert said == [f"It: does not have all of the run: t0000 is missing. {fix}"]
    service.hangs.set()
    wait_for(lambda: not one._thread.is_alive())
    assert len(said) == 1


def test_what_earlier_drivers_wrote_is_read_as_a_whole_first(tmp_path: Path) -> None:
    service = Service()
    one = Uploader(service, tmp_path, lambda text: None)
    run = shown(by_hand(spec(), suggested("t0000", lr=0.1), reported("t0000", 1, **{METRIC: 0.5})), one, close=False)
    wait_for(lambda: one.run.records == run.records)
    assert not service.began
    one.close(run)
    assert (service.began, service.reports, service.finished) == (1, {"t0000": 1}, 1)


# ---------------------------------------------------------------------- what is not installed


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_an_error_before_anything_starts(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.cli import main

    trainable(tmp_path, ["x"])
    (tmp_path / "run.yaml").write_text(json.dumps({**USUAL}, indent=1)[:-2] + f',\n "loggers": ["csv", "{kind}"]\n}}')
    (tmp_path / kind).mkdir()  # a mere folder of that name is no module
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    for flags in ([], ["--check", "--no-dashboard"]):
        assert main(["--space", "run.yaml", *flags]) == 2
        error = capsys.readouterr().err
        assert error.startswith("run.yaml:")
        assert f": loggers.1: must be a logger that is installed, but got {kind}, and no module named {kind}" in error
        assert error.endswith(f"Run pip install -c constraints.txt -e '.[{kind}]' in tuner's folder.\n")
    assert not (tmp_path / "runs").exists()


def test_other_loggers_at_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a run that is over, and where one of the first is not installed."""
    from tuner.cli import main

    trainable(tmp_path, ["x"])
    folder = simulated(tmp_path / "run", experiment(loggers=[{"kind": "wandb"}]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert main(["--resume", "run"]) == 2
    assert "loggers.0: must be a logger that is installed, but got wandb" in capsys.readouterr().err
    before = (folder / "ledger").read_bytes()
    assert main(["--resume", "run", "--set", "loggers=[csv]"]) == 0
    with (folder / "curves.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == sum(isinstance(record, Report) for record in read(folder))
    assert (folder / "ledger").read_bytes() == before


def test_a_folder_named_wandb_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from tuner.spec.loggers import _is_installed

    (tmp_path / "a_folder_alone").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not _is_installed("a_folder_alone")
    assert _is_installed("wandb")
    assert "a_folder_alone" not in sys.modules


def test_names_and_mappings_mean_the_same(tmp_path: Path) -> None:
    trainable(tmp_path, ["x"])
    short, long = (from_mapping({**USUAL, "loggers": [one]}, tmp_path) for one in ("csv", {"kind": "csv"}))
    assert short.experiment == long.experiment
