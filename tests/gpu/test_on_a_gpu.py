"""What docs/gpus.md claims, on a real GPU. `benchmarks/gpu.py` does it in a process of its own, and tells figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from slot.bench import Bench, weights
from support import ROOT

from benchmarks.gpus import report
from tuner.trial import Assignment
from tuner.trial.local import LocalTrial

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU: torch.cuda.is_available() is False on this machine"
)
Tell = Callable[..., Any]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Tell:
    """Run one section of the benchmark, once."""
    known: dict[str, Any] = {}

    def run(section: str, *flags: str) -> Any:
        if section not in known:
            out = tmp_path_factory.mktemp(section) / "page.md"
            words = ["--only", section, "--seconds", "0.5", "--rounds", "1", "--out", str(out), *flags]
            subprocess.run([sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words], check=True)
            known[section] = json.loads(out.with_suffix(".json").read_text())[section]
        return known[section]

    return run


def test_a_process_is_held_to_its_share_and_its_neighbour_goes_on(tell: Tell) -> None:
    told = tell("share")
    allowed = told["share"] * told["total"]
    assert told["error"] and told["known"] and told["went_on"]
    assert 0.8 * allowed < told["held"] <= 1.01 * allowed
    assert told["neighbours_steps"] > 0


def test_a_batch_that_does_not_fit_is_trained_in_two_parts(tell: Tell) -> None:
    told = tell("recovery")
    assert told["short"]["could_split"]
    assert report.apart(told["whole"]["losses"], told["parts"]["losses"]) < 1e-3


def test_a_child_of_a_process_that_knows_torch_can_use_the_gpu(tell: Tell) -> None:
    told = tell("start")
    assert len(told["forked"]) == len(told["fresh"]) > 0
    assert told["context_trained"] >= told["context"] > 0


def test_several_processes_train_at_once(tell: Tell) -> None:
    cells = tell("packing", "--parts", "1,2", "--no-mps")
    assert {cell["parts"] for cell in cells} == {1, 2}
    assert all(len(cell["rates"]) == cell["parts"] and min(cell["rates"]) > 0 for cell in cells)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_computes_in_the_precision_of_the_yaml(tmp_path: Path, precision: Any, dtype: torch.dtype) -> None:
    trial = gpu_trial(tmp_path, gpus=1, precision=precision)
    x = torch.ones(2, 2, device=trial.device)
    with trial.autocast():
        assert (x @ x).dtype == dtype


def test_a_trial_has_the_gpus_that_it_asked_for(tmp_path: Path) -> None:
    assert gpu_trial(tmp_path, gpus=0.5).devices == [torch.device("cuda", 0)]
    assert gpu_trial(tmp_path, gpus=0).devices == [torch.device("cpu")]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_pipeline_over_two_gpus_has_the_gradient_of_the_whole_batch() -> None:
    from trainables import data, pipeline

    found = []
    for devices in ([torch.device("cpu")], [torch.device("cuda", 0), torch.device("cuda", 1)]):
        torch.manual_seed(0)
        model = pipeline.make_model(data.load("digits"), layers=3, width=16, heads=2, patch=2).double()
        images, labels = torch.randn(10, 1, 8, 8, dtype=torch.float64), torch.randint(10, (10,))
        cut = pipeline.Pipeline(model, split=2, micro_batches=3, devices=devices)
        cut.loss(cut.enter(images), labels).backward()
        found.append([parameter.grad.cpu() for parameter in model.parameters()])
    assert next(model[-1].parameters()).device == torch.device("cuda", 1)
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_ranks_make_the_same_steps_with_nccl_as_with_gloo_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "0,1"))
    bench = Bench(tmp_path)
    slot = bench.slot(RANKED)
    try:
        found = []
        for name, gpus, parts in (("cpu", 0, 1), ("gpus", 2, 1), ("parts", 2, 2)):
            *_, report, end = bench.run(slot, bench.assignment(name, gpus=gpus, ranks=2, parts=parts))
            assert end == {"event": "returned"}
            assert report["metrics"]["on_gpu"] == bool(gpus) and bool(report["gpu_memory"]) == bool(gpus)
            found.append({name: weight.cpu() for name, weight in weights(bench, report).items()})
    finally:
        slot.close()
    for other in found[1:]:
        for name, weight in other.items():
            torch.testing.assert_close(weight, found[0][name], rtol=1e-3, atol=1e-4)


RANKED = """
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    X = torch.randn(48, 8, generator=torch.Generator().manual_seed(3))
    DATA = TensorDataset(X, X.sum(1, keepdim=True).sin())

    def train(trial):
        model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        net, loader = trial.prepare(model, DataLoader(DATA, 6, shuffle=True))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        trial.track(model=net, optimizer=optimizer)
        for epoch in trial.epochs():
            for x, y in trial.batches(loader):
                loss = nn.functional.mse_loss(net(x.to(trial.device)), y.to(trial.device))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 0.3)
                optimizer.step()
            one = torch.ones(1, device=trial.device)
            dist.all_reduce(one)
            assert one == 2
            trial.report(loss=loss, on_gpu=one.is_cuda)
"""


def gpu_trial(folder: Path, **facts: Any) -> LocalTrial:
    return LocalTrial(Assignment(run=str(folder), trial="t", params={}, seed=0, metric="x", epochs=1, **facts))
