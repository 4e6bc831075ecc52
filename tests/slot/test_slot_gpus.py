"""A real process with a share of a simulated GPU: measured, held to its share, and out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tuner.slot.slot import Slot
from tuner.trial.meter import SIMULATED

from .bench import Bench

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

def train(trial, width=256, grows=False):
    model = nn.Sequential(nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trial.track(model=model, optimizer=optimizer)
    loader = torch.utils.data.DataLoader(torch.ones(128, 64), batch_size=16)
    for epoch in trial.epochs():
        for x in trial.batches(loader):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        print("trained", epoch, flush=True)
        trial.report(loss=0.0)
"""


ENDS = """
import torch

def train(trial, end):
    batches = trial.batches([torch.ones(100, 1000)] * 320)
    print(sum(2 * x.sum() for x in batches))
    exec(end)
"""


@pytest.fixture(autouse=True, scope="module")
def simulated() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SIMULATED, "8MiB")
        yield


@pytest.fixture(scope="module")
def slot(simulated: None, shared: Bench) -> Slot:
    return shared.slot(MODEL)


@pytest.fixture(scope="module")
def ends(simulated: None, shared: Bench) -> Slot:
    return shared.slot(shared.code(ENDS, "ends"))


def test_a_probe_tells_what_it_took_and_the_trial_takes_no_more(slot: Slot, bench: Bench) -> None:
    (probed,) = bench.run(slot, bench.assignment(task="probe", gpus=1))
    assert probed["event"] == "probed"
    weights = 4 * (64 * 256 + 256 * 256)
    assert 2 * weights < probed["gpu_memory"] < 4 * weights
    assert probed["step"] > 0
    reports = bench.run(slot, bench.assignment(gpus=0.5))[:-1]
    assert [one["epoch"] for one in reports] == [1, 2, 3]
    assert {one["gpu_memory"] for one in reports} == {probed["gpu_memory"]}
    assert all(one["step"] > 0 for one in reports)
    told = bench.log().splitlines()
    assert told[0].startswith("note: some steps, to measure")
    assert told[1:] == ["trained 1", "trained 1", "trained 2", "trained 3"], "a probe ends with its first report"


def test_a_share_that_is_too_small_is_out_of_memory_of_the_gpu(slot: Slot, bench: Bench) -> None:
    failed = bench.run(slot, bench.assignment(gpus=0.05))[-1]
    facts: dict[str, Any] = {key: failed[key] for key in ("event", "outcome", "on_gpu", "splits")}
    assert facts == {"event": "failed", "outcome": "infeasible", "on_gpu": True, "splits": True}
    assert failed["reason"].startswith("out of memory: OutOfMemoryError: simulated GPU out of memory")
    fits = bench.run(slot, bench.assignment("t1", gpus=0.5))
    assert fits[-1]["event"] == "returned"


def test_memory_of_the_machine_is_not_that_of_a_gpu(bench: Bench) -> None:
    slot = bench.slot("def train(trial):\n    raise MemoryError('no more')\n")
    failed = bench.run(slot, bench.assignment(gpus=1))[-1]
    assert (failed["outcome"], failed["on_gpu"]) == ("infeasible", False)


@pytest.mark.parametrize("end", ["pass", "raise ValueError('80 of 320 labels')", "raise SystemExit"])
def test_a_probe_is_measured_as_far_as_it_came_however_it_ends(ends: Slot, bench: Bench, end: str) -> None:
    (event,) = bench.run(ends, bench.assignment(task="probe", gpus=1, params={"end": end}))
    assert event["event"] == "probed", "cut short, it may go wrong where the training will not"
    assert event["gpu_memory"] > 4 * 100 * 1000
    assert event["step"] > 0


def test_a_probe_that_runs_out_of_memory_says_so(slot: Slot, bench: Bench) -> None:
    failed = bench.run(slot, bench.assignment(task="probe", gpus=1, params={"width": 1024}))[-1]
    assert (failed["event"], failed["outcome"]) == ("failed", "infeasible")
