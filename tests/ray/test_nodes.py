"""A run on a cluster whose machines join, leave and die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hosts import STEADY, Driver, holds, nodes, two_nodes
from support import command, environment, records, reports, trained, wait_for

from tuner.core.records import Lost, Machines, Report
from tuner.core.state import replay
from tuner.ledger import read

pytestmark = pytest.mark.ray


def test_a_node_that_dies_takes_no_trial_with_it(launch, write, tmp_path: Path, monkeypatch) -> None:
    write(STEADY, budget={"trials": 3, "epochs": 30}, scheduler={"kind": "none"}, fixed={"sleep": 0.15})
    run = tmp_path / "runs" / "r"
    with two_nodes(monkeypatch) as (cluster, other):
        flags = ["--space", "mine.yaml", "--name", "r", "--address", cluster.address]
        with subprocess.Popen(
            command(*flags), cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as driver:  # fmt: skip
            wait_for(lambda: driver.poll() is not None or len(reports(run)) >= 8)
            assert driver.poll() is None, driver.stdout.read()
            cluster.remove_node(other, allow_graceful=False)
            said = driver.communicate(timeout=200)[0]
            assert driver.returncode == 0, said
    lost = [record for record in records(run) if isinstance(record, Lost)]
    # Its processes die one after the other: a worker may still tell that the trial's process is gone, and another one
    # there may get the trial and die with it.
    assert lost and {record.cause for record in lost} <= {"machine", "worker"}, lost
    assert len({record.trial for record in lost}) == 1, lost
    state = replay(read(run))
    assert {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", 30)}
    assert launch("--resume", "r", "--check").stdout.endswith("all as they stand in the ledger\n")
    assert sum(map(len, trained(run).values())) <= 91, "at most one epoch twice"


def driver_on(cluster, folder: Path) -> Driver:
    return Driver(folder, ("--space", "mine.yaml", "--name", "r", "--address", cluster.address))


def test_room_that_joins_is_used_at_once(launch, write, tmp_path: Path, monkeypatch) -> None:
    write(STEADY, budget={"trials": 10, "epochs": 20}, scheduler={"kind": "none"}, fixed={"sleep": 0.2})
    with nodes(monkeypatch, {"num_cpus": 1}) as (cluster, _), driver_on(cluster, tmp_path) as driver:
        driver.until(3)
        cluster.add_node(num_cpus=2)
        assert "2 machines from now on: 3 trials at once" in driver.ends(0, alone=False)
    told = records(driver.run)
    joined = next(i for i, record in enumerate(told) if isinstance(record, Machines))
    assert told[joined] == Machines(time=told[joined].time, machines=2, slots=3)
    workers = [{one.worker for one in part if isinstance(one, Report)} for part in (told[:joined], told[joined:])]
    assert len(workers[0]) == 1
    assert len(workers[1]) >= 2
    assert launch("--resume", "r", "--check").stdout.endswith("all as they stand in the ledger\n")


def test_trials_leave_a_machine_that_is_about_to_be_taken_away_and_train_nothing_twice(
    launch, write, tmp_path: Path, monkeypatch
) -> None:
    write(
        STEADY, budget={"trials": 2, "epochs": 40}, scheduler={"kind": "none"}, fixed={"sleep": 0.2},
        checkpoint={"every": 100},
    )  # fmt: skip
    with two_nodes(monkeypatch) as (cluster, other), driver_on(cluster, tmp_path) as driver:
        driver.until(8)
        words = ["drain-node", "--address", cluster.address, "--node-id", other.node_id, "--reason"]
        words += ["DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "60"]
        subprocess.run([sys.executable, "-m", "ray.scripts.scripts", *words], check=True, capture_output=True)
        driver.ends(0, alone=False)
    told = records(driver.run)
    lost = [record for record in told if isinstance(record, Lost)]
    assert [(one.cause, one.reason) for one in lost] == [("machine", "its machine is about to be taken away")]
    assert [one.slots for one in told if isinstance(one, Machines)] == [1]
    assert sum(map(len, trained(driver.run).values())) == 80, "nothing is trained twice"
    holds(launch, driver.run, deaths=0)
