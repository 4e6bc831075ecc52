"""Real runs that parts of Ray, the driver or several of them are taken from at once, and impatient users."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
from hosts import FLAGS, STEADY, Driver, all_finished, holds, kill, slowly, two_nodes
from support import ROOT, SPELLED, records, reports, wait_for

from tuner.core.records import Lost
from tuner.storage.machine import mark

LONG = {"budget": {"trials": 4, "epochs": 30}, "scheduler": {"kind": "none"}}
AGAIN = ("--resume", "r", "--no-dashboard")
GO_ON = f"Go on with: {SPELLED} --resume runs/r"
SLOW = "import os\n" + STEADY.replace("sleep(sleep)", "sleep(1000 if epoch == 3 and os.path.exists('slow') else 0.1)")
"""Its third epoch does not end while there is a file named `slow`."""
UNLIKE = STEADY.replace("sleep(sleep)", "sleep(0.1 if trial.id == 't0000' else 0.5)")
RAISED = """Failure # 1 (occurred at 2026-11-28_03-00-00)
ray::r slot 0 on host.reset() (pid=1, ip=10.0.0.1)
  File "/tuner/slot/slot.py", line 1, in begin
OSError: no disk
"""
PATIENT = (
    "import tuner.engine.stops as stops; stops.GRACE_SECONDS = 1000.0\n"
    "from tuner.cli import main; raise SystemExit(main({flags}))"
)


def test_parts_of_its_own_ray_die_one_after_the_other(launch, write, tmp_path: Path) -> None:
    write(STEADY, **LONG)
    flags, run = FLAGS, tmp_path / "runs" / "r"
    for part in ("/gcs_server", "/raylet "):
        with Driver(tmp_path, flags) as driver:
            driver.until(len(reports(run)) + 10)
            (victim,) = driver.below(part)
            victim.kill()
            said = driver.ends(3)
        assert GO_ON in said
        flags = AGAIN
    launch(*AGAIN)
    assert all_finished(holds(run, deaths=2), 30)


def test_the_head_of_a_cluster_dies(launch, write, tmp_path: Path, monkeypatch) -> None:
    slow = slowly(write, tmp_path, budget={"trials": 2, "epochs": 100})
    with two_nodes(monkeypatch) as (cluster, _), Driver(tmp_path, [*FLAGS, "--address", cluster.address]) as driver:
        driver.until(10)
        cluster.head_node.kill_gcs_server()
        said = driver.ends(3, alone=False)
        slow.unlink()
        # What it had begun on the cluster trains on for a while: it is kept off, and what it saved is taken over.
        launch(*AGAIN)
    assert GO_ON in said
    assert all_finished(holds(driver.run, deaths=1), 100)


def test_a_worker_that_comes_too_late_leaves_its_trial_alone(write, tmp_path: Path) -> None:
    write(UNLIKE, budget={"trials": 2, "epochs": 40}, scheduler={"kind": "none"})
    log = tmp_path / "runs" / "r" / "trials" / "t0000" / "log.txt"
    with Driver(tmp_path) as driver:
        wait_for(lambda: {report.trial for report in reports(driver.run)} == {"t0000", "t0001"})
        # The other trial's worker comes free a moment later, and takes this trial while Ray starts a worker for it.
        wait_for(lambda: log.read_text().count("trained") >= 25)
        kill([worker_of(driver, "t0001")])
        driver.ends(0)
    lost = [record for record in records(driver.run) if isinstance(record, Lost)]
    assert [(record.trial, record.cause) for record in lost] == [("t0001", "worker")]
    assert lost[0].reason.startswith("the worker is gone: The actor is dead because its worker process has died.")
    assert "common causes" not in lost[0].reason
    assert all_finished(holds(driver.run, deaths=1), 40)


def test_what_a_worker_raised_is_told(tmp_path: Path) -> None:
    from tuner.engine.scheduler import _reason

    (tmp_path / "error.txt").write_text(RAISED)
    assert _reason(SimpleNamespace(error_file=str(tmp_path / "error.txt"))) == "the worker is gone: OSError: no disk"
    assert _reason(SimpleNamespace(error_file=None)) == "the worker is gone"


def test_a_second_signal_waits_for_no_epoch(launch, write, tmp_path: Path) -> None:
    write(SLOW, budget={"trials": 4, "epochs": 5}, scheduler={"kind": "none"})
    (tmp_path / "slow").touch()
    # The first signal alone would let the epochs, which never end, have a thousand seconds instead of five.
    argv = [sys.executable, "-c", PATIENT.format(flags=list(FLAGS))]
    with Driver(tmp_path, argv=argv, PYTHONPATH=str(ROOT)) as driver:
        driver.until(4)
        driver.process.send_signal(signal.SIGINT)
        driver.until_said("Ctrl-C stops at once")
        driver.process.send_signal(signal.SIGTERM)
        said = driver.ends(130)
    assert "Go on with: tuner --resume runs/r" in said
    assert len(reports(driver.run)) == 4
    (tmp_path / "slow").unlink()
    launch(*AGAIN)
    assert all_finished(holds(driver.run, deaths=1), 5)


def test_an_interrupt_while_ray_starts(launch, write, tmp_path: Path) -> None:
    write(STEADY, budget={"trials": 4, "epochs": 5}, scheduler={"kind": "none"}, resources={"max_trials": 1})
    flags = FLAGS
    for seconds, number, count in ((0.0, signal.SIGINT, 1), (2.0, signal.SIGTERM, 2)):
        with Driver(tmp_path, flags) as driver:
            driver.until_said("starting Ray")
            time.sleep(seconds)
            for _ in range(count):
                driver.process.send_signal(number)
                time.sleep(0.2)
            said = driver.ends(130)
        assert GO_ON in said
        flags = AGAIN
    launch(*AGAIN)
    assert all_finished(holds(driver.run, deaths=2), 5)


def worker_of(driver: Driver, trial: str) -> psutil.Process:
    """Find the Ray worker that a trial was last heard of from: its log is named by its id and its process."""
    worker = [report.worker for report in reports(driver.run) if report.trial == trial][-1]
    (log,) = Path("/tmp").glob(f"{mark(driver.pid)}-*/session_2*/logs/worker-{worker}*.out")
    return psutil.Process(int(log.stem.rpartition("-")[2]))
