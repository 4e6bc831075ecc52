"""The ResNet: its parts, and that a resumed run is the uninterrupted one bit for bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from heard import heard

from trainables import resnet

SMALL = {"lr": 0.1, "width": 4, "train_size": 200, "batch_size": 50}


@pytest.fixture(autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


run = partial(heard, resnet.train)


@pytest.mark.parametrize(
    "more",
    [
        {"schedule": "cosine", "mixup": 0.3},
        {"schedule": "onecycle", "optimizer": "adamw", "lr": 0.01, "label_smoothing": 0.1},
        {"schedule": "none", "sampler": "balanced"},
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, more: dict[str, Any]) -> None:
    params = {**SMALL, **more}
    whole, kept = run(tmp_path / "whole", params)
    cut, _ = run(tmp_path / "cut", params, last=1)
    resumed, again = run(tmp_path / "cut", params, checkpoint=cut.paths[0], epoch=1, attempt="2.0")
    assert resumed.metrics == whole.metrics[1:]
    ours, theirs = again._tracked["model"].state_dict(), kept._tracked["model"].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_learns_and_reports_what_it_says(tmp_path: Path) -> None:
    channel, _ = run(tmp_path, {**SMALL, "width": 8, "train_size": None}, epochs=2)
    assert set(channel.metrics[0]) == {"val_accuracy", "val_loss", "train_loss"}
    assert channel.metrics[-1]["val_accuracy"] > 0.5
    assert channel.metrics[-1]["train_loss"] < channel.metrics[0]["train_loss"]


def make_model(**more: Any) -> resnet.ResNet:
    return resnet.ResNet(3, 10, **{"width": 8, "depth": 2, "stages": 3, **more})


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_shapes(stride: int) -> None:
    model = make_model(stem_stride=stride)
    images = torch.zeros(2, 3, 32, 32)
    assert model(images).shape == (2, 10)
    assert model.body(images).shape == (2, 32, 8 // stride, 8 // stride)


def test_weight_decay_leaves_norms_and_biases_alone() -> None:
    model = make_model()
    decayed, free = resnet.make_optimizer(model, "sgd", lr=0.1, momentum=0.9, weight_decay=0.01).param_groups
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    expected = {id(p) for norm in norms for p in norm.parameters()} | {id(model.head.bias)}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in free["params"]} == expected
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizers(name: str, kind: type) -> None:
    optimizer = resnet.make_optimizer(make_model(), name, lr=0.1, momentum=0.7, weight_decay=0.0)
    assert isinstance(optimizer, kind)
    assert optimizer.param_groups[0].get("momentum", optimizer.param_groups[0].get("betas", [None])[0]) == 0.7


def test_unknown_choices_are_refused() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="optimizer must be sgd or adamw, but got 'adam'"):
        resnet.make_optimizer(model, "adam", lr=0.1, momentum=0.9, weight_decay=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="schedule must be one of cosine, onecycle, none, but got 'step'"):
        resnet.make_schedule(optimizer, "step", 10)


def rates(make: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_one_cycle_is_torchs() -> None:
    def theirs(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=1001, cycle_momentum=False)

    ours = rates(lambda optimizer: resnet.make_schedule(optimizer, "onecycle", 1000), 1000)
    assert ours == pytest.approx(rates(theirs, 1000), abs=0.003)  # theirs peaks a batch earlier


def test_cosine_goes_from_one_to_zero() -> None:
    seen = rates(lambda optimizer: resnet.make_schedule(optimizer, "cosine", 11), 12)
    assert seen[0] == 0.4
    assert seen[5] == pytest.approx(0.2)
    assert seen[10:] == pytest.approx([0, 0])  # a batch more than was announced stays at the end


def test_mixup_blends_images_as_its_labels_say() -> None:
    torch.manual_seed(0)
    labels = torch.arange(6)
    images = torch.nn.functional.one_hot(labels, 6).float().view(6, 6, 1, 1)
    mixed, others, share = resnet.mix(images, labels, 0.5)
    expected = share * images + (1 - share) * images[others]
    assert 0 <= share <= 1
    assert torch.allclose(mixed, expected)


def test_the_mixed_loss_is_the_cross_entropy_with_the_mixed_target() -> None:
    model = torch.nn.Flatten()
    images, labels = torch.randn(5, 4, 1, 1), torch.tensor([0, 1, 2, 3, 0])
    torch.manual_seed(1)
    loss = resnet.loss_of(model, images, labels, mixup=1.0, label_smoothing=0.0)
    torch.manual_seed(1)
    mixed, others, share = resnet.mix(images, labels, 1.0)
    target = share * torch.eye(4)[labels] + (1 - share) * torch.eye(4)[others]
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(mixed.flatten(1), target).item(), rel=1e-5)
