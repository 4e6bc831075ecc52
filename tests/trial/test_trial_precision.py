"""What a trial computes in: a scaler for fp16 alone, and a note where the function takes no notice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.errors import UserError

from .study import assignment, goes_on, run


def scaled(trial: Trial) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trial.track(model=model, optimizer=optimizer)
    scaler = trial.scaler
    for _ in trial.epochs():
        with trial.autocast():
            loss = model(torch.ones(2, 1)).mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        trial.report(loss=loss.item(), scale=scaler.get_scale())


@pytest.mark.parametrize(("precision", "saved"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_only_the_scaler_of_fp16_does_anything_and_is_saved(tmp_path: Path, precision: str, saved: bool) -> None:
    given = assignment(tmp_path, precision=precision)
    heard = run(scaled, given, last=2)
    assert (tmp_path / str(heard.checkpoints[-1]) / "scaler.pt").exists() is saved
    assert (heard.metrics[-1]["scale"] > 1) is saved
    whole = run(scaled, assignment(tmp_path / "whole", precision=precision))
    assert run(scaled, goes_on(given, heard)).metrics == whole.metrics[2:]


def test_a_trial_that_began_without_a_scaler_goes_on_with_one(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        model = nn.Linear(1, 1)
        trial.track(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        for _ in trial.epochs():
            trial.report(loss=1.0)

    given = assignment(tmp_path, precision="fp16")
    resumed = run(scaled, goes_on(given, run(train, given, last=2)))
    assert resumed.epochs == [3, 4]
    assert resumed.metrics[0]["scale"] > 1


@pytest.mark.parametrize(("precision", "told"), [("fp32", 0), ("bf16", 1)])
def test_a_function_that_takes_no_notice_is_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, told: int
) -> None:
    def train(trial: Trial) -> None:
        for _ in trial.epochs():
            trial.report(loss=1.0)

    run(train, assignment(tmp_path, precision=precision))
    assert capsys.readouterr().out.count(f"note: precision: {precision} changes nothing") == told


def test_what_is_tracked_as_scaler_must_be_one(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.track(scaler=nn.Linear(1, 1))
        trial.scaler.update()

    with pytest.raises(UserError, match=r"trial.track\(scaler=...\): must be a GradScaler, but got Linear"):
        run(train, assignment(tmp_path))
