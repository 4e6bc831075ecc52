"""Several ranks in one trial, in real runs: they are placed together, stopped together, and go on together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import nodes
from support import command, decided_alike, environment, records, reports, trained, wait_for

from tuner.core.records import Lost
from tuner.core.state import replay
from tuner.ledger import read
from tuner.trial import Assignment

TWO = """
import os, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DATA = TensorDataset(torch.linspace(0, 1, 32).reshape(16, 2), torch.linspace(0, 1, 16).reshape(16, 1))

def train(trial, *, lr, pause=0.0):
    (trial.folder / f"pid{trial.rank}").write_text(str(os.getpid()))
    model, loader = trial.prepare(nn.Linear(2, 1), DataLoader(DATA, 4, shuffle=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    trial.track(model=model, optimizer=optimizer)
    trial.test(lambda: {"ranks": trial.ranks, "gpus": trial._assignment.gpus})
    for epoch in trial.epochs():
        for x, y in trial.batches(loader):
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        time.sleep(pause)
        print("trained", epoch, "seeing", repr(os.environ.get("CUDA_VISIBLE_DEVICES")), flush=True)
        trial.report(loss=lr / epoch, ranks=trial.ranks, rank=trial.rank)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster with room for two trials of two ranks, and for half a trial more; gives its address."""
    with pytest.MonkeyPatch.context() as patch, nodes(patch, {"num_cpus": 5, "num_gpus": 5}) as (made, _):
        yield str(made.address)


def test_a_trial_asks_for_all_that_its_ranks_need_as_one() -> None:
    from tuner.engine.search import _place

    given = Assignment(run="r", trial="t0", params={}, seed=1, metric="loss", epochs=1, cpus=2, gpus=3, ranks=3)
    assert _place(given).bundles == [{"CPU": 6, "GPU": 3}]


def test_ten_times_more_trials_of_two_ranks_than_there_is_room_for_all_end(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    write(TWO, budget={"trials": 20, "epochs": 3}, resources={"cpus": 1, "ranks": 2})
    launch("--space", "mine.yaml", "--name", "r", "--address", cluster)
    run = tmp_path / "runs" / "r"
    state = replay(read(run))
    outcomes = [trial.outcome for trial in state.trials.values()]
    assert state.slots == 2
    assert len(outcomes) == 20 and set(outcomes) == {"finished", "stopped"}
    assert {(r.metrics["ranks"], r.metrics["rank"]) for r in reports(run)} == {(2, 0.5)}
    assert not [record for record in records(run) if isinstance(record, Lost)]
    assert {file.name for file in (run / "trials" / "t0000").glob("log*")} == {"log.txt", "log.rank1.txt"}
    decided_alike(run)


def test_each_rank_has_a_gpu_of_its_own(
    cluster: str, launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    """Ray only counts these GPUs, so the ranks train on the CPU all the same."""
    write(TWO, budget={"trials": 4, "epochs": 2}, scheduler={"kind": "none"}, resources={"gpus": 2})
    launch("--space", "mine.yaml", "--name", "r", "--address", cluster)
    for folder in (tmp_path / "runs" / "r" / "trials").iterdir():
        saw = [{line.split()[-1] for line in (folder / log).read_text().splitlines() if line.startswith("trained")}
               for log in ("log.txt", "log.rank1.txt")]  # fmt: skip
        assert len(saw[0]) == len(saw[1]) == 1 and saw[0] != saw[1]
        assert saw[0] | saw[1] <= {f"'{i}'" for i in range(5)}
    tested = json.loads((tmp_path / "runs" / "r" / "best" / "test.json").read_text())
    assert tested["metrics"] == {"ranks": 1, "gpus": 1}, "one process with the GPU of one rank"


def test_a_rank_that_is_killed_takes_its_trial_down_but_not_the_run(write: Callable[..., Any], tmp_path: Path) -> None:
    write(
        TWO, budget={"trials": 2, "epochs": 6}, scheduler={"kind": "none"}, resources={"cpus": 1, "ranks": 2},
        fixed={"pause": 0.3},
    )  # fmt: skip
    flags = ("--space", "mine.yaml", "--name", "r", "--no-dashboard")
    driver = subprocess.Popen(
        command(*flags), cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    run = tmp_path / "runs" / "r"
    wait_for(lambda: [r for r in reports(run) if r.trial == "t0000" and r.epoch == 2])
    os.kill(int((run / "trials" / "t0000" / "pid1").read_text()), signal.SIGKILL)
    said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, said
    losses = [(record.trial, record.cause, record.reason) for record in records(run) if isinstance(record, Lost)]
    reason = "its process was killed by SIGKILL in the middle of the trial (rank 1)"
    assert losses == [("t0000", "worker", reason)]
    state = replay(read(run))
    assert {trial.outcome for trial in state.trials.values()} == {"finished"}
    epochs = trained(run)["t0000"]
    assert sorted(set(epochs)) == [1, 2, 3, 4, 5, 6] and len(epochs) <= 7, "no epoch twice but the one it died in"
    decided_alike(run)


def test_a_trial_that_runs_out_of_memory_on_one_rank_goes_on_with_smaller_parts_on_all(
    launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    short = "            if trial.rank and len(x) > 2: raise MemoryError\n            loss = (model"
    write(
        TWO.replace("            loss = (model", short), budget={"trials": 1, "epochs": 2},
        scheduler={"kind": "none"}, resources={"cpus": 1, "ranks": 2},
    )  # fmt: skip
    launch("--space", "mine.yaml", "--name", "r", "--no-dashboard")
    run = tmp_path / "runs" / "r"
    losses = [(record.cause, record.parts, record.reason) for record in records(run) if isinstance(record, Lost)]
    assert losses == [("memory", 2, "out of memory: MemoryError (rank 1); its batches come in two parts now")]
    assert [trial.outcome for trial in replay(read(run)).trials.values()] == ["finished"]
