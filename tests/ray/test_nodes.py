"""A run on a cluster of several nodes, one of which dies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hosts import STEADY, two_nodes
from support import command, environment, records, reports, trained, wait_for

from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read

pytestmark = pytest.mark.ray


def test_a_node_that_dies_takes_no_trial_with_it(launch, write, tmp_path: Path, monkeypatch) -> None:
    write(STEADY, budget={"trials": 3, "epochs": 30}, scheduler={"kind": "none"}, fixed={"sleep": 0.3})
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
