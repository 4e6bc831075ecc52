"""Real runs that something goes wrong with, or that the user changes his mind about."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hosts import STEADY
from support import command, decided_alike, environment, fill, records, reports, small_disk, trained, wait_for

from tuner.core.records import Asked, Disk, Lost
from tuner.core.state import replay
from tuner.ledger import read


def start(folder: Path, *flags: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*flags), cwd=folder, env={**environment(), **more}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_trial_and_then_the_run_are_stopped_from_another_terminal(launch, write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 3, "epochs": 5000}, scheduler={"kind": "none"}, checkpoint={"every": 100})
    run = tmp_path / "runs" / "r"
    driver = start(tmp_path, "--space", "mine.yaml", "--name", "r", "--no-dashboard")
    wait_for(lambda: len(reports(run)) > 10)
    refused = launch("--resume", "r", "--no-dashboard", code=2)
    assert f"process {driver.pid} on " in refused.stderr
    assert Asked not in {type(record) for record in records(run)}
    said = launch("--stop", "r/t0000")
    assert said.stdout == "t0000 has ended: killed, the user stopped the trial\n"
    saved = replay(read(run)).trials["t0000"].reports[-1]
    assert saved.checkpoint, "saved, although it was no hundredth epoch"
    wait_for(lambda: "t0002" in replay(read(run)).trials)
    process = psutil.Process(int((run / "trials" / "t0001" / "lock").read_text().split()[1]))
    launch("--stop", "r/t0001")
    wait_for(lambda: not process.is_running())
    assert driver.poll() is None, "its slot had nothing else to do, and the run went on"
    assert launch("--stop", "r").stdout == "the run has ended: asked\n"
    assert driver.wait(60) == 0, driver.stdout.read()
    state = replay(read(run))
    assert state.closed == "asked"
    assert all(trial.outcome == "killed" for trial in state.trials.values())
    assert not (run / "stopping").exists()
    assert launch("--stop", "r").stdout == "the run has ended: asked\n"
    assert "No trial" not in launch("--why", "r/t0001").stdout
    assert launch("--resume", "r", "--check").stdout.endswith("all as they stand in the ledger\n")


def test_a_larger_budget_lets_a_finished_run_go_on(launch, write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 3, "epochs": 3}, scheduler={"kind": "asha", "grace_epochs": 3})
    run = tmp_path / "runs" / "r"
    launch("--space", "mine.yaml", "--name", "r", "--no-dashboard")
    said = launch("--resume", "r", "--no-dashboard", "--set", "budget.epochs=6", "--set", "budget.trials=5",
                  "--set", "resources.max_trials=1").stdout  # fmt: skip
    assert "budget.epochs grows from 3 to 6" in said
    assert "resources.max_trials changes from null to 1" in said
    assert "schedules keep their horizon: trial.total_epochs stays 3" in said
    state = replay(read(run))
    assert len(state.trials) == 5
    assert max(trial.epoch for trial in state.trials.values()) == 6
    assert all(epochs == list(range(1, len(epochs) + 1)) for epochs in trained(run).values()), "no epoch twice"
    assert "epochs: 6" in (run / "experiment.yaml").read_text()
    decided_alike(run)
    refused = launch("--resume", "r", "--set", "budget.epochs=5", code=2)
    assert "budget.epochs: must be at least 6, as before, but got 5" in refused.stderr


def test_a_hung_trial_is_asked_what_it_does_killed_and_begun_again(launch, write, tmp_path: Path) -> None:
    hangs = STEADY.replace(
        "        counter.n += 1\n",
        "        counter.n += 1\n        while epoch == 3 and not (trial.folder / 'hung').exists():\n"
        "            (trial.folder / 'hung').touch(); time.sleep(1000)\n",
    )
    write(hangs, budget={"trials": 2, "epochs": 5}, scheduler={"kind": "none"}, watchdog={"seconds": 2, "factor": 2})
    launch("--space", "mine.yaml", "--name", "r", "--no-dashboard")
    run = tmp_path / "runs" / "r"
    lost = [record for record in records(run) if isinstance(record, Lost)]
    assert {(record.trial, record.cause) for record in lost} == {("t0000", "stalled"), ("t0001", "stalled")}
    assert {trial.outcome for trial in replay(read(run)).trials.values()} == {"finished"}
    assert trained(run) == {"t0000": [1, 2, 3, 4, 5], "t0001": [1, 2, 3, 4, 5]}
    assert "in train" in (run / "trials" / "t0000" / "log.txt").read_text()


def test_hours_hold_although_a_trial_hangs(launch, write, tmp_path: Path) -> None:
    write(
        "import time\ndef train(trial, *, lr):\n    time.sleep(1000)\n",
        budget={"trials": 2, "epochs": 5, "hours": 0.003},
        resources={"max_trials": 1},
    )
    launch("--space", "mine.yaml", "--name", "r", "--no-dashboard")
    assert replay(read(tmp_path / "runs" / "r")).closed == "hours"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk."""
    with small_disk(tmp_path / "small", "24m") as folder:
        yield folder


def test_a_full_disk_pauses_the_run_until_there_is_room(write, small: Path, tmp_path: Path) -> None:
    write(
        STEADY.replace("SIZE = 10", "SIZE = 100_000"), storage=str(small), scheduler={"kind": "none"},
        budget={"trials": 3, "epochs": 30}, checkpoint={"keep": 1},
    )  # fmt: skip
    run, ballast = small / "r", small / "ballast"
    driver = start(tmp_path, "--space", "mine.yaml", "--name", "r", "--no-dashboard")
    wait_for(lambda: len(reports(run)) > 4)
    fill(ballast)
    wait_for(lambda: any(isinstance(record, Disk) and record.full for record in records(run)))
    time.sleep(3)
    before = len(reports(run))
    assert driver.poll() is None
    ballast.unlink()
    wait_for(lambda: len(reports(run)) > before)
    assert driver.wait(120) == 0, driver.stdout.read()
    state = replay(read(run))
    assert {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", 30)}
    assert [record.full for record in records(run) if isinstance(record, Disk)] == [True, False]
    said = driver.stdout.read()
    assert "is full: no trial is begun until there is room" in said
    assert "has room again" in said
    assert not list(run.rglob(".*.*")), "no file is left half written"


def test_a_full_temporary_folder_of_rays_is_the_clusters_fault(write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 6, "epochs": 50}, scheduler={"kind": "none"})
    run = tmp_path / "runs" / "r"
    with small_disk(Path("/tmp") / uuid.uuid4().hex[:3], "24m") as small:  # a longer name has no room for Ray's sockets
        driver = start(tmp_path, "--space", "mine.yaml", "--name", "r", "--no-dashboard", TMPDIR=str(small))
        wait_for(lambda: len(reports(run)) > 4)
        assert any(path.name.startswith("tuner-") for path in small.iterdir())
        fill(small / "ballast")
        assert driver.wait(120) in (0, 3), driver.stdout.read()
    small.rmdir()


def test_a_signal_stops_cleanly_saves_what_is_nearly_done_and_says_how_to_go_on(launch, write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 2, "epochs": 5}, scheduler={"kind": "none"}, checkpoint={"every": 400},
          fixed={"sleep": 1.0})  # fmt: skip
    run = tmp_path / "runs" / "r"
    driver = start(tmp_path, "--space", "mine.yaml", "--name", "r", "--no-dashboard")
    # Both, else the stop waits for the first report of one while the other trains on.
    wait_for(lambda: len(reports(run)) > 3 and len({report.trial for report in reports(run)}) == 2)
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 130
    assert "--resume runs/r" in output
    last = {record.trial: record for record in reports(run)}
    assert all(record.checkpoint for record in last.values()), "the last report of each is saved"
    assert not (run / "stopping").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(run) in " ".join(p.info["cmdline"] or [])]
    assert json.loads((run / "summary.json").read_text())["state"] == "stopped"
    is_late = "report.html is not waited for" in output
    assert is_late or "The run is not over" in (run / "report.html").read_text()
    launch("--resume", "r", "--no-dashboard")
    assert trained(run) == {name: [1, 2, 3, 4, 5] for name in ("t0000", "t0001")}, "nothing is trained twice"
    assert replay(read(run)).finished()
