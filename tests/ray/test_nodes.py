"""A run on a cluster whose machines join, leave and die."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hosts import STEADY, Driver, all_finished, holds, kill, nodes, slowly
from support import decided_alike, records, reports, trained, wait_for

from tuner.core.records import Lost, Machines, Report
from tuner.core.state import replay
from tuner.ledger import read

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a head of one CPU, which other nodes may join."""
    with pytest.MonkeyPatch.context() as patch, nodes(patch, {"num_cpus": 1}) as (made, _):
        yield made


@contextmanager
def joining(cluster: Cluster, cpus: int = 1) -> Iterator[Any]:
    """Have another node as long as this block, if it lives so long."""
    node = cluster.add_node(num_cpus=cpus, include_log_monitor=False)
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)
        cluster.wait_for_nodes(120)  # else the next run might take it for one that lives


def driver_on(cluster: Cluster, folder: Path) -> Driver:
    return Driver(folder, ("--space", "mine.yaml", "--name", "r", "--address", cluster.address))


def test_a_node_that_dies_takes_no_trial_with_it(write, tmp_path: Path, cluster: Cluster) -> None:
    slow = slowly(write, tmp_path, budget={"trials": 3, "epochs": 30})
    run = tmp_path / "runs" / "r"
    with joining(cluster) as other, driver_on(cluster, tmp_path) as driver:
        wait_for(lambda: len({report.worker for report in reports(run)}) == 2)  # one on each node
        cluster.remove_node(other, allow_graceful=False)
        driver.until_lost()
        slow.unlink()
        driver.ends(0, alone=False)
    lost = [record for record in records(run) if isinstance(record, Lost)]
    # Its processes die one after the other: a worker may still tell that the trial's process is gone, and another one
    # there may get the trial and die with it.
    assert lost and {record.cause for record in lost} <= {"machine", "worker"}, lost
    assert len({record.trial for record in lost}) == 1, lost
    state = replay(read(run))
    assert {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", 30)}
    decided_alike(run)
    assert sum(map(len, trained(run).values())) <= 91, "at most one epoch twice"


def test_room_that_joins_is_used_at_once(write, tmp_path: Path, cluster: Cluster) -> None:
    write(STEADY, budget={"trials": 500, "epochs": 20}, scheduler={"kind": "none"}, fixed={"sleep": 0.2})
    with driver_on(cluster, tmp_path) as driver:
        driver.until(3)
        with joining(cluster, 2):
            driver.until_said("2 machines from now on: 3 trials at once")
            wait_for(lambda: len({report.worker for report in reports(driver.run)}) == 3)
            driver.process.send_signal(signal.SIGINT)
            driver.ends(130, alone=False)
    told = records(driver.run)
    joined = next(i for i, record in enumerate(told) if isinstance(record, Machines))
    assert told[joined] == Machines(time=told[joined].time, machines=2, slots=3)
    assert len({record.worker for record in told[:joined] if isinstance(record, Report)}) == 1
    decided_alike(tmp_path / "runs" / "r")


def test_trials_leave_a_machine_that_is_about_to_be_taken_away_and_train_nothing_twice(
    write, tmp_path: Path, cluster: Cluster
) -> None:
    slow = slowly(write, tmp_path, budget={"trials": 2, "epochs": 200}, checkpoint={"every": 1000})
    with joining(cluster) as other, driver_on(cluster, tmp_path) as driver:
        wait_for(lambda: len({report.worker for report in reports(driver.run)}) == 2)
        words = ["drain-node", "--address", cluster.address, "--node-id", other.node_id, "--reason"]
        words += ["DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "60"]
        subprocess.run([sys.executable, "-m", "ray.scripts.scripts", *words], check=True, capture_output=True)
        driver.until_lost()
        slow.unlink()
        driver.ends(0, alone=False)
    told = records(driver.run)
    lost = [record for record in told if isinstance(record, Lost)]
    assert [(one.cause, one.reason) for one in lost] == [("machine", "its machine is about to be taken away")]
    assert [one.slots for one in told if isinstance(one, Machines)] == [1]
    assert sum(map(len, trained(driver.run).values())) == 400, "nothing is trained twice"
    holds(driver.run, deaths=0)


def test_the_driver_and_a_node_die_at_once(launch, write, tmp_path: Path, cluster: Cluster) -> None:
    write(STEADY, budget={"trials": 4, "epochs": 30}, scheduler={"kind": "none"})
    with joining(cluster) as other:
        with driver_on(cluster, tmp_path) as driver:
            driver.until(10)
            kill([psutil.Process(driver.pid)])
            cluster.remove_node(other, allow_graceful=False)
        launch("--resume", "r", "--address", cluster.address)
    assert all_finished(holds(driver.run, deaths=1), 30)
