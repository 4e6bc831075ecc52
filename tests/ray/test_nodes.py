"""A run on a cluster of several nodes, one of which dies."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from support import command, environment, records, reports, trained, wait_for

from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read

pytestmark = pytest.mark.ray

CODE = """
import time

class Counter:
    def __init__(self): self.n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, *, lr):
    counter = Counter()
    trial.track(counter=counter)
    for epoch in trial.epochs():
        time.sleep(0.3)
        counter.n += 1
        print("trained", epoch, flush=True)
        trial.report(loss=lr / counter.n)
"""


def test_a_node_that_dies_takes_no_trial_with_it(launch, write, tmp_path: Path, monkeypatch) -> None:
    from ray.cluster_utils import Cluster

    write(CODE, budget={"trials": 3, "epochs": 30}, scheduler={"kind": "none"})
    run = tmp_path / "runs" / "r"
    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp") as scratch:
        monkeypatch.setenv("RAY_TMPDIR", scratch)  # else it leaves its address where other runs would find it
        (Path(scratch) / "ray").mkdir()
        cluster = Cluster(True, head_node_args={"num_cpus": 1, "temp_dir": scratch, "include_dashboard": False})
        try:
            other = cluster.add_node(num_cpus=1)
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
        finally:
            cluster.shutdown()
    lost = [record for record in records(run) if isinstance(record, Lost)]
    assert [record.cause for record in lost] == ["machine"], lost
    state = replay(read(run))
    assert {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", 30)}
    assert launch("--resume", "r", "--check").stdout.endswith("all as they stand in the ledger\n")
    assert sum(map(len, trained(run).values())) <= 91, "at most one epoch twice"
