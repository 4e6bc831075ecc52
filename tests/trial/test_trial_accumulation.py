"""Batches in parts: the same steps as with whole batches, without a change in the user's loop."""

from __future__ import annotations

import copy
import io
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.trial.accumulation import Accumulation, _part, can_split, mixes_samples

from .study import assignment, run

PATTERNS = ("zero, backward, step", "backward, step, zero", "model zero, backward, step")


def data(size: int = 37) -> torch.utils.data.DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(size, 5, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True).sin()), batch_size=8)


def trained(folder: Path, parts: int, pattern: str = PATTERNS[0], optimizer: str = "adam") -> list[torch.Tensor]:
    """Train a small model for three epochs; returns its weights."""
    left: list[torch.Tensor] = []

    def train(trial: Trial) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
        make = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
        steps = make(model.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(steps, 0.1, total_steps=3 * 5)
        trial.track(model=model, optimizer=steps, schedule=schedule)
        loader = data()
        for _ in trial.epochs():
            for x, y in trial.batches(loader):
                if pattern.startswith("zero"):
                    steps.zero_grad()
                elif pattern.startswith("model"):
                    model.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                steps.step()
                schedule.step()
                if pattern.endswith("zero"):
                    steps.zero_grad()
            trial.report(loss=1.0)
        left.extend(parameter.detach().clone() for parameter in model.parameters())

    run(train, assignment(folder, epochs=3, parts=parts))
    return left


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_of_a_batch_make_the_step_of_the_whole(tmp_path: Path, parts: int, optimizer: str, pattern: str) -> None:
    whole = trained(tmp_path / "whole", 1, pattern, optimizer)
    for a, b in zip(whole, trained(tmp_path / "parts", parts, pattern, optimizer), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_without_gates_the_parts_would_make_other_steps(tmp_path: Path) -> None:
    whole, halves = trained(tmp_path / "a", 1), []

    def train(trial: Trial) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
        steps = torch.optim.AdamW(model.parameters(), lr=0.05)  # not tracked: nobody can gate it
        for _ in trial.epochs():
            for x, y in trial.batches(data()):
                steps.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                steps.step()
            trial.report(loss=1.0)
        halves.extend(parameter.detach() for parameter in model.parameters())

    run(train, assignment(tmp_path / "b", epochs=3, parts=2))
    assert not torch.allclose(whole[0], halves[0], atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_scaler_scales_and_steps_once_a_batch_too(tmp_path: Path, precision: str) -> None:
    def weights(parts: int) -> torch.Tensor:
        left = []

        def train(trial: Trial) -> None:
            torch.manual_seed(0)
            model = nn.Linear(5, 1)
            steps = torch.optim.SGD(model.parameters(), lr=0.05)
            # Its own first scale is so large that steps are left out until it fits, and how many depends on the parts.
            scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == "fp16")
            trial.track(model=model, optimizer=steps, scaler=scaler)
            for _ in trial.epochs():
                for x, y in trial.batches(data()):
                    steps.zero_grad()
                    with trial.autocast():
                        predicted = model(x)
                        assert predicted.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}.get(
                            precision, torch.float16
                        )
                        loss = nn.functional.mse_loss(predicted.float(), y)
                    trial.scaler.scale(loss).backward()
                    trial.scaler.unscale_(steps)
                    nn.utils.clip_grad_norm_(model.parameters(), 100.0)
                    trial.scaler.step(steps)
                    trial.scaler.update()
                trial.report(loss=1.0)
            left.append(model.weight.detach().clone())

        heard = run(train, assignment(tmp_path / str(parts), epochs=2, parts=parts, precision=precision))
        saved = tmp_path / str(parts) / str(heard.checkpoints[-1])
        assert bool(torch.load(saved / "scaler.pt")) == (precision == "fp16")
        return left[0]

    tolerance = {"fp32": 1e-5, "bf16": 2e-2, "fp16": 2e-3}[precision]
    torch.testing.assert_close(weights(1), weights(2), rtol=tolerance, atol=tolerance)


def adversaries(parts: int) -> list[torch.Tensor]:
    """Train two models against each other: the loss of one leaves gradients in the other, which are thrown away."""
    torch.manual_seed(0)
    maker, judge = nn.Linear(5, 5), nn.Linear(5, 1)
    makes = torch.optim.SGD(maker.parameters(), lr=0.0)  # else with parts its loss would see an older judge
    judges = torch.optim.SGD(judge.parameters(), lr=0.1)
    accumulation = Accumulation(parts)
    for thing in (maker, judge, makes, judges):
        accumulation.gate(thing)
    for x, _ in accumulation.batches(data()):
        judges.zero_grad()
        (judge(maker(x).detach()).mean() - judge(x).mean()).backward()
        judges.step()
        makes.zero_grad()
        (-judge(maker(x)).square().mean()).backward()
        makes.step()
    return [parameter.detach() for model in (maker, judge) for parameter in model.parameters()]


def test_two_optimizers_that_leave_gradients_in_each_others_models() -> None:
    torch.testing.assert_close(adversaries(1)[2], adversaries(3)[2], rtol=1e-4, atol=1e-5)


def accumulated(parts: int) -> torch.Tensor:
    """Step once in two batches, as a loop does that accumulates by itself."""
    torch.manual_seed(0)
    model = nn.Linear(5, 1)
    steps = torch.optim.SGD(model.parameters(), lr=0.1)
    accumulation = Accumulation(parts)
    for thing in (model, steps):
        accumulation.gate(thing)
    seen = 0
    for x, y in accumulation.batches(data(32)):
        seen += len(x)
        nn.functional.mse_loss(model(x), y).backward()
        if seen % 16 == 0:
            steps.step()
            steps.zero_grad()
    return model.weight.detach()


def test_a_loop_that_accumulates_by_itself_stays_right() -> None:
    torch.testing.assert_close(accumulated(1), accumulated(2), rtol=1e-4, atol=1e-5)


VARIANTS = (
    "a validation loop within a batch", "a layer that is unfrozen later", "a group that is added later", "a closure",
    "an average of the weights", "a schedule that is made after its optimizer was tracked", "a copy of the model",
)  # fmt: skip


def variant(which: str, parts: int) -> tuple[list[torch.Tensor], int]:
    """Train in a way that a loop may; returns the weights, and how many batches were measured."""
    torch.manual_seed(0)
    body, head = nn.Linear(5, 4), nn.Linear(4, 1)
    model = nn.Sequential(body, nn.Tanh(), head)
    average = torch.optim.swa_utils.AveragedModel(model)
    late = which.startswith("a group")
    steps = torch.optim.SGD(head.parameters() if late else model.parameters(), lr=0.1)
    body.requires_grad_(not which.startswith("a layer"))
    accumulation, measured = Accumulation(parts), 0
    for thing in (model, average, steps):
        accumulation.gate(thing)
    if which.startswith("a schedule"):
        schedule = torch.optim.lr_scheduler.StepLR(steps, 2)
        accumulation.gate(schedule)
    for number, (x, y) in enumerate(accumulation.batches(data(32))):

        def loss(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            steps.zero_grad()
            value = nn.functional.mse_loss(model(x), y)
            value.backward()
            return value

        if which == "a closure":
            steps.step(loss)
            continue
        loss()
        if which.startswith("a validation"):
            with torch.no_grad():
                measured += len([model(x) for x, _ in accumulation.batches(data(16))])
        elif which.startswith("a copy"):
            copy.deepcopy(model).zero_grad()
            torch.save(model, io.BytesIO())
        steps.step()
        average.update_parameters(model)
        if which.startswith("a schedule"):
            schedule.step()
        if number + 1 == 2 * parts:
            body.requires_grad_(True)
            if late:
                steps.add_param_group({"params": body.parameters()})
    watched = average if which.startswith("an average") else model
    return [parameter.detach().clone() for parameter in watched.parameters()], measured


@pytest.mark.parametrize("which", VARIANTS)
def test_loops_of_many_kinds_stay_right(which: str) -> None:
    (whole, _), (halves, measured) = variant(which, 1), variant(which, 2)
    for a, b in zip(whole, halves, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    if which.startswith("a validation"):
        assert measured == 8 * 2, "what is only measured comes whole"


@pytest.mark.parametrize(
    "batch",
    [
        [torch.zeros(3, 8, 8), torch.zeros(4, 8, 8)],
        [torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)],  # two images, of three channels each
        (torch.zeros(9, 4, 2), torch.zeros(4)),
        nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)]),
    ],
)
def test_batches_whose_tensors_differ_in_length_come_whole(batch: Any) -> None:
    accumulation = Accumulation(2)
    assert len(list(accumulation.batches([batch]))) == 1
    assert accumulation.largest == 0


def test_what_lies_outside_of_a_batch_acts_as_ever() -> None:
    model = nn.Linear(2, 1)
    steps = torch.optim.SGD(model.parameters(), lr=1.0)
    parts = Accumulation(2)
    parts.gate(model)
    parts.gate(steps)
    assert len(list(parts.batches([torch.zeros(4, 2)]))) == 2
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).backward()
    steps.step()
    torch.testing.assert_close(model.weight.detach(), before - 1.0)
    steps.zero_grad()
    assert model.weight.grad is None


Pair = namedtuple("Pair", "x y")


def test_batches_of_any_form_are_cut() -> None:
    x, y = torch.arange(6).reshape(3, 2), torch.tensor(7)
    batch = {"x": x, "pair": Pair(x, ["a", "b", "c"]), "list": [x, y, 5], "name": "whole"}
    cut = _part(batch, 1, 3, 3)
    assert cut["x"].tolist() == [[2, 3], [4, 5]]
    assert cut["pair"].y == ["b", "c"]
    assert isinstance(cut["pair"], Pair)
    assert (cut["list"][1:], cut["name"]) == ([y, 5], "whole")


@pytest.mark.parametrize("batch", [torch.tensor(3), "text", 5, torch.zeros(1, 2)])
def test_what_cannot_be_cut_comes_whole(batch: Any) -> None:
    (got,) = Accumulation(4).batches([batch])
    assert got is batch


def test_who_mixes_samples_and_who_cannot_step_in_parts_is_known() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert mixes_samples([model])
    assert not mixes_samples([model[0], 5])
    assert can_split([torch.optim.SGD(model.parameters(), lr=1)])
    assert not can_split([torch.optim.LBFGS(model.parameters())])
    assert not can_split([model])
