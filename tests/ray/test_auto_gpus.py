"""`gpus: auto` for real, on simulated GPUs: shares by measurement, two sizes of GPU, out of memory, kills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hosts import Driver, nodes
from support import decided_alike, records, wait_for

from tuner.core.records import Given, Probed, Report
from tuner.core.state import replay
from tuner.ledger import read
from tuner.trial.meter import SIMULATED

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

MIB = 2**20
MODEL = """
import torch
from torch import nn

def train(trial, *, lr, width=64, batch=32):
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    trial.track(model=model, optimizer=optimizer)
    loader = torch.utils.data.DataLoader(torch.ones(256, 64), batch_size=batch)
    for epoch in trial.epochs():
        for x in trial.batches(loader):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            optimizer.step()
        trial.report(loss=loss.item())
"""
SECTIONS: dict[str, Any] = {
    "space": {
        "lr": {"dist": "float", "low": 0.001, "high": 0.01},
        "width": {"dist": "choice", "values": [64, 128, 256, 512]},
        "batch": {"dist": "int", "low": 8, "high": 128},
    },
    "resources": {"gpus": "auto"},
}


@pytest.fixture(scope="module")
def two_sizes() -> Iterator[tuple[Cluster, Any]]:
    """Start a cluster of two nodes with a simulated GPU each, one of 2 MiB and one of 16; gives it and the latter."""
    sizes = [{"num_cpus": 2, "num_gpus": 1, "env_vars": {SIMULATED: size}} for size in ("2MiB", "16MiB")]
    with pytest.MonkeyPatch.context() as patch, nodes(patch, *sizes) as (made, (_, large)):
        yield made, large


def test_each_trial_lies_on_a_gpu_that_holds_it(
    two_sizes: tuple[Cluster, Any], launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    points = [{"width": width, "batch": 32} for width in (512, 64, 128, 512, 64)]
    write(MODEL, **SECTIONS, budget={"trials": 5, "epochs": 4}, scheduler={"kind": "none"}, start={"points": points})
    launch("--space", "mine.yaml", "--name", "r", "--address", two_sizes[0].address)
    told = read(tmp_path / "runs" / "r")
    state = replay(told)
    assert {trial.outcome for trial in state.trials.values()} == {"finished"}
    cards = {int(record.memory / record.gpus / MIB + 0.5) for record in told if isinstance(record, Given)}
    assert cards == {2, 16}, "both were used"
    for trial in state.trials.values():
        assert trial.given is not None
        assert max(report.gpu_memory for report in trial.reports) <= trial.given.memory
    large = [trial for trial in state.trials.values() if trial.params["width"] == 512]
    assert large
    assert all(trial.given and trial.given.memory > 2 * MIB for trial in large), (
        "it ran out on the small one, or was seen to"
    )
    decided_alike(tmp_path / "runs" / "r")
    told = launch("--why", f"r/{large[0].id}").stdout
    assert "given       CPUs: 1, GPUs: 1 (" in told


def test_a_trial_that_waits_for_a_machine_which_dies_goes_elsewhere(
    two_sizes: tuple[Cluster, Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    """The last one on this cluster."""
    space = {**SECTIONS["space"], "width": {"dist": "choice", "values": [64, 128]}}
    write(MODEL, **{**SECTIONS, "space": space}, budget={"trials": 3, "epochs": 2}, scheduler={"kind": "none"})
    cluster, large = two_sizes
    with Driver(tmp_path, ("--space", "mine.yaml", "--name", "r", "--address", cluster.address)) as driver:
        wait_for(
            lambda: driver.process.poll() is not None or any(isinstance(one, Given) for one in records(driver.run))
        )
        cluster.remove_node(large, allow_graceful=False)
        driver.ends(0, alone=False)
    state = replay(read(tmp_path / "runs" / "r"))
    assert {trial.outcome for trial in state.trials.values()} == {"finished"}


def test_a_driver_that_is_killed_while_trials_are_measured_goes_on_as_it_would_have(
    launch: Callable[..., Any], write: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIMULATED, "2x8MiB")
    write(MODEL, **SECTIONS, budget={"trials": 12, "epochs": 3}, scheduler={"kind": "none"})
    run = tmp_path / "runs" / "r"
    with Driver(tmp_path) as driver:
        driver.until(12)
    launch("--resume", "r", "--no-dashboard")
    told = read(run)
    state = replay(told)
    assert {(trial.outcome, trial.epoch) for trial in state.trials.values()} == {("finished", 3)}
    assert state.gpus.packing.sums, "how many share a GPU was measured"
    assert any(record.together > 0 for record in told if isinstance(record, Report))
    probed = [record.trial for record in told if isinstance(record, Probed)]
    assert len(probed) == len(set(probed)), "no trial is measured twice"
    decided_alike(run)
