"""Whole runs on a real Ray, each through the command line."""

import csv
import json
import subprocess
from collections import Counter
from pathlib import Path

import psutil
import pytest
from outputs.services import wandb_records
from support import command, environment, reports

from tuner.core.lines import to_json
from tuner.ledger import read
from tuner.outputs.results import read_state

QUIET = "--no-dashboard"
SECRET = "a-secret-of-the-environment"

ALONE = {"max_trials": 1}
"""For runs in which it does not matter: a second worker takes seconds of CPU to start."""

COUNTING = """
import json, os, time

class Count:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, *, lr, sleep=0.0):
    count = Count()
    trial.track(count=count)
    for epoch in trial.epochs():
        count.n += 1
        time.sleep(sleep)
        assert count.n == epoch
        with open(trial.folder / "trained.txt", "a") as file: print(epoch, file=file)
        trial.report(loss=(lr - 0.1) ** 2 + 1 / count.n)
"""


def processes(needle: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        try:
            if needle in " ".join(process.cmdline()) or needle in process.cwd():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_run_leaves_all_that_the_readme_names(launch, tmp_path: Path) -> None:
    done = launch("--space", "debug.yaml", "--name", "debug", QUIET)
    folder = tmp_path / "runs" / "debug"
    names = {path.name for path in folder.iterdir()}
    assert {"experiment.yaml", "ledger", "trials", "tensorboard", "study.journal", "summary.json", "leaderboard.csv",
            "best", "ray", "driver.log", "report.html"} <= names  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["state"] == "finished"
    assert sum(summary["trials"].values()) == 8
    assert summary["test"]["test_loss"] == pytest.approx(1 - summary["best"]["value"])
    rows = list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert rows[0]["trial"] == summary["best"]["trial"]
    for text in ("starting Ray", "Best score", "tensorboard --logdir runs/debug/tensorboard", summary["best"]["trial"]):
        assert text in done.stdout
    for noise in ("WARNING", "INFO", "ray.tune", "Configuration for experiment", "FileNotFoundError"):
        assert noise not in done.stdout + done.stderr
    assert not processes(str(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Have a run that is over, and what was said of it."""
    home = tmp_path_factory.mktemp("finished")
    flags = ("--set", "budget.trials=2", "--set", "loggers=[csv, {kind: wandb, mode: offline}]", "--json", QUIET)
    done = subprocess.run(
        command("--space", "debug.yaml", "--name", "done", *flags), cwd=home,
        env={**environment(), "WANDB_API_KEY": SECRET}, text=True, capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    return home / "runs" / "done", done


def test_events_for_programs(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = finished
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds == [record.kind for record in read(folder)]
    assert "Best score" in done.stderr


def test_no_secret_is_in_what_a_run_leaves(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = finished
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"experiment.yaml", "ledger", "driver.log", "report.html"} <= {path.name for path in files}
    assert any("ray" in path.relative_to(folder).parts for path in files)
    for text in (SECRET.encode(), token.encode()):
        assert text not in (done.stdout + done.stderr).encode()
        assert not [path for path in files if text in path.read_bytes()]


def test_wandb_gets_params_and_metrics_and_nothing_of_the_machine(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    sent = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len(sent) == 2
    for file in sent:
        told = list(wandb_records(file))
        kinds = {record.WhichOneof("record_type") for record in told}
        assert "history" in kinds
        assert not kinds & {"environment", "output", "output_raw", "stats", "files"}
        assert {record.run.host for record in told if record.WhichOneof("record_type") == "run"} == {"tuner"}
        assert not any(record.run.git.remote_url or record.run.settings.item for record in told)


def test_a_second_driver_is_refused(launch, finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    from tuner.ledger import Ledger

    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.name != "driver.log"}
    with Ledger(folder):
        done = launch("--resume", str(folder), code=2)
    assert {path: path.read_bytes() for path in before} == before
    assert "is driving this run" in done.stderr


def test_resume_of_a_finished_run_trains_nothing_and_writes_what_is_missing(
    launch, finished: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    folder, _ = finished
    ledger = (folder / "ledger").read_bytes()
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("summary.json", "study.journal", "report.html"):
        (folder / name).unlink()
    curves = (folder / "curves.csv").read_text()
    assert len(curves.splitlines()) - 1 == sum(len(report.metrics) for report in reports(folder))
    done = launch("--resume", str(folder), "--json", QUIET)
    assert done.stdout.splitlines() == [to_json(record) for record in read(folder)]
    assert "Best params:" in done.stderr
    assert (folder / "curves.csv").read_text() == curves
    assert len(list((folder / "wandb").glob("offline-run-*/*.wandb"))) == 2
    assert "All trials" in (folder / "report.html").read_text()
    assert (folder / "ledger").read_bytes() == ledger
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (folder / "study.journal").stat().st_size > 0


def test_a_module_that_cannot_be_imported_ends_with_the_users_traceback(launch, write) -> None:
    done = launch(
        "--space",
        str(write("import nothing_of_that_name\ndef train(trial, *, lr): ...", resources=ALONE)),
        QUIET,
        code=2,
    )
    assert "import nothing_of_that_name" in done.stderr
    assert "No module named 'nothing_of_that_name'" in done.stderr


def test_a_metric_that_is_never_reported_ends_with_what_was(launch, write) -> None:
    code = "def train(trial, *, lr):\n    for epoch in trial.epochs():\n        trial.report(accuracy=lr)\n"
    done = launch("--space", str(write(code, resources=ALONE)), QUIET, code=2)
    assert "must hold the objective 'loss', but got 'accuracy'" in done.stderr


def test_the_same_failure_three_times_ends_the_run(launch, write, tmp_path: Path) -> None:
    code = "def train(trial, *, lr):\n    raise ValueError('of no use')\n"
    done = launch("--space", str(write(code, resources=ALONE)), QUIET, code=1)
    assert "ValueError: of no use" in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["state"] == "failed"


def test_single_failures_are_results(launch, write, tmp_path: Path) -> None:
    code = """
import os, sys
def train(trial, *, lr):
    if trial.id == "t0001": raise ValueError("now and then")
    if trial.id == "t0002": os.abort()
    if trial.id == "t0003": trial.report(loss=float("nan"))
    if trial.id == "t0004": raise MemoryError("wide")
    for epoch in trial.epochs(): trial.report(loss=lr)
"""
    done = launch("--space", str(write(code, scheduler={"kind": "none"})), "--name", "mixed", QUIET)
    run = read_state(tmp_path / "runs" / "mixed")
    outcomes = Counter(trial.outcome for trial in run.trials.values())
    assert outcomes == {"finished": 2, "failed": 2, "diverged": 1, "infeasible": 1}
    assert "t0001 failed before its first report: ValueError: now and then" in done.stdout
    assert "SIGABRT" in run.trials["t0002"].reason
    assert run.trials["t0004"].reason == "out of memory: MemoryError: wide"


def test_pbt_with_more_members_than_slots(launch, write, tmp_path: Path) -> None:
    scheduler = {"kind": "pbt", "interval_epochs": 2, "quantile": 0.5}
    path = write(COUNTING, scheduler=scheduler, budget={"trials": 4, "epochs": 6})
    launch("--space", str(path), "--name", "pbt", QUIET)
    run = read_state(tmp_path / "runs" / "pbt")
    clones = [report for report in reports(tmp_path / "runs" / "pbt") if report.decision.clone]
    assert run.finished()
    assert clones
    assert {trial.outcome for trial in run.trials.values()} == {"finished"}
    assert all(0.001 <= trial.params["lr"] <= 1.0 for trial in run.trials.values())


def test_promotion_pauses_and_goes_on_in_a_run_from_python(write, tmp_path: Path) -> None:
    write(COUNTING, scheduler={"kind": "asha", "promote": True, "reduction_factor": 2})
    code = (
        "import tuner\n"
        "result = tuner.run(tuner.load('mine.yaml', ['budget.trials=5']), 'promote', tuner.Options(dashboard=False))\n"
        "print('TABLE', len(result.table()), result.best.trial)\n"
    )
    root = str(Path(command()[1]).parent)
    done = subprocess.run(
        [command()[0], "-c", code], cwd=tmp_path, env={**environment(), "PYTHONPATH": root}, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert "TABLE 5 t0" in done.stdout, done.stdout + done.stderr
    folder = tmp_path / "runs" / "promote"
    kinds = Counter(record.kind for record in read(folder))
    assert read_state(folder).finished()
    assert kinds["promoted"] > 0
    for trial in read_state(folder).trials.values():
        assert (folder / "trials" / trial.id / "trained.txt").read_text().split() == [
            str(epoch) for epoch in range(1, trial.epoch + 1)
        ]


def test_a_plain_ray_function_runs_unchanged_with_its_own_checkpoints(launch, write, tmp_path: Path) -> None:
    code = """
import json, tempfile, time
from pathlib import Path
from ray import tune

def train(config):
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = json.loads((Path(folder) / "epoch.json").read_text())
    for epoch in range(start, 4):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch.json").write_text(json.dumps(epoch + 1))
            saved = tune.Checkpoint.from_directory(folder)
            tune.report({"loss": config["lr"] / (epoch + 1), "note": "text"}, checkpoint=saved)
"""
    scheduler = {"kind": "asha", "promote": True, "reduction_factor": 2}
    said = launch("--space", str(write(code, scheduler=scheduler, resources=ALONE)), "--name", "plain", QUIET).stdout
    run = read_state(tmp_path / "runs" / "plain")
    assert run.finished() and run.best is not None
    kept = tmp_path / "runs" / "plain" / "best" / "files"
    assert json.loads((kept / "epoch.json").read_text()) == run.best.epoch
    assert "Best model:   runs/plain/best/files, the checkpoint that the function reported" in said
    assert "finished" in {trial.outcome for trial in run.trials.values()}
    for trial in run.trials.values():
        assert [report.epoch for report in trial.reports] == list(range(1, trial.epoch + 1))


def test_an_address_where_nothing_listens(launch, write) -> None:
    done = launch("--space", str(write(COUNTING)), "--address", "127.0.0.1:9", code=3)
    assert "127.0.0.1:9 does not" in done.stderr
