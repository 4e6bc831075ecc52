"""What a trial takes of a GPU, on one that is simulated; how long its steps take; some steps that are only measured."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.errors import UserError
from tuner.trial.channel import Probed
from tuner.trial.meter import SIMULATED, Cuda, cards, meter
from tuner.trial.pace import PROBE_STEPS, WARM, Pace
from tuner.trial.simulated import SimulatedGpu

from .study import assignment, run

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "sizes"), [("8GiB", [8 * 1024 * MIB]), ("2x512MiB", [512 * MIB] * 2), ("1.5GiB", [1536 * MIB])]
)
def test_simulated_gpus_are_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, sizes: list[int]
) -> None:
    monkeypatch.setenv(SIMULATED, text)
    assert cards() == sizes
    assert isinstance(meter(0.5), SimulatedGpu)
    assert meter(0.5, context=MIB).limit == sizes[0] // 2 - MIB  # type: ignore[attr-defined]
    assert isinstance(meter(0), Cuda), "a trial without a GPU has none"
    monkeypatch.setenv(SIMULATED, "8 gigs")
    with pytest.raises(UserError, match="must be such as 8GiB or 2x512MiB"):
        cards()


def test_memory_counts_from_when_a_tensor_is_made_until_it_is_gone() -> None:
    gpu = SimulatedGpu(10 * MIB)
    with gpu.held():
        first = torch.zeros(MIB // 4)
        view = first[:10].view(2, 5)
        assert gpu.used == MIB, "a view takes nothing"
        second = first + 1
        assert (gpu.used, gpu.peak()) == (2 * MIB, 2 * MIB)
        del first, second
        gc.collect()
        assert gpu.used == MIB, "the view keeps it"
        del view
        gc.collect()
        assert (gpu.used, gpu.peak()) == (0, 2 * MIB)
        with gpu.aside():
            torch.zeros(100 * MIB)
        assert gpu.peak() == 2 * MIB
        with pytest.raises(torch.OutOfMemoryError, match=r"allocate 12\.00 MiB; 0\.00 of 10\.00"):
            torch.zeros(3 * MIB)


def test_larger_models_and_batches_take_more_and_gradients_count() -> None:
    def peak(width: int, batch: int) -> int:
        gpu = SimulatedGpu(10**9)
        with gpu.held():
            model = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1))
            optimizer = torch.optim.AdamW(model.parameters())
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.randn(batch, 32)).sum().backward()
                optimizer.step()
        return gpu.peak()

    weights = 4 * (32 * 128 + 128 * 128)
    assert peak(64, 64) < peak(128, 64) < peak(128, 512)
    assert peak(128, 1) > 4 * weights, "weights, gradients and two moments"


def test_a_step_is_measured_after_the_first_ones_where_gradients_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("tuner.trial.pace._now", lambda: clock[0])
    pace = Pace()
    for i in pace.over(range(10)):
        clock[0] += 100.0 if i < WARM else 0.5
    assert pace.take() == pytest.approx(0.5)
    assert pace.take() == 0.0
    with torch.no_grad():
        for _ in pace.over(range(10)):
            clock[0] += 1
    assert pace.take() == 0.0
    for i in pace.over(range(10)):
        clock[0] += 0.25
        if i == 5:
            break
    assert pace.take() == pytest.approx(0.25), "a loop that the user leaves counts as far as it went"


def test_a_probe_trains_some_steps_reports_nothing_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []

    def train(trial: Trial) -> None:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trial.track(model=model, optimizer=optimizer)
        loader: Any = torch.utils.data.DataLoader(torch.zeros(400, 4), batch_size=4)
        for _ in trial.epochs():
            for batch in trial.batches(loader):
                seen.append(len(batch))
                model(batch).sum().backward()
                optimizer.step()
            try:
                trial.report(loss=0.0)
            except Exception:
                pytest.fail("a probe passes by what catches exceptions")

    with pytest.raises(Probed) as told:
        run(train, assignment(tmp_path, task="probe"))
    assert seen == [4] * PROBE_STEPS
    assert told.value.step > 0
    assert not (tmp_path / "trials" / "t0" / "checkpoints").exists()


def test_a_probe_of_a_loop_without_batches_takes_an_epoch_for_a_step(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for _ in trial.epochs():
            sum(range(1000))
            trial.report(loss=0.0)

    with pytest.raises(Probed) as told:
        run(train, assignment(tmp_path, task="probe"))
    assert told.value.step > 0
