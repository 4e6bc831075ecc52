"""A trial that was cut off after any epoch and goes on ends bit for bit where the uninterrupted one ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from trainables import resnet, toy
from tuner import Trial

from .study import Function, Heard, assignment, goes_on, run

pytestmark = pytest.mark.slow

EPOCHS = 4
DATA = TensorDataset(torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3)
HALF = TensorDataset(*DATA[:12])
ENDS: dict[str, Any] = {}
"""The weights at the end of the last training that got there."""


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def seeded(trial: Trial) -> torch.Generator:
    return torch.Generator().manual_seed(trial.seed)


def loaders(trial: Trial, kind: str) -> Iterator[list[Any]]:
    """Yield the loaders of each epoch."""
    common: dict[str, Any] = {"batch_size": 8}
    fixed = {
        "own": lambda: [DataLoader(DATA, shuffle=True, generator=seeded(trial), **common)],
        "global": lambda: [DataLoader(DATA, shuffle=True, **common)],
        "both": lambda: loaders_of("own") + loaders_of("global"),
        "two alike": lambda: [DataLoader(HALF, shuffle=True, generator=seeded(trial), **common), *loaders_of("own")],
        "sampler": lambda: [DataLoader(DATA, sampler=RandomSampler(DATA, generator=seeded(trial)), **common)],
        "weighted": lambda: [
            DataLoader(DATA, sampler=WeightedRandomSampler([1, 2] * 12, 24, generator=seeded(trial)), **common)
        ],
        "workers": lambda: [
            DataLoader(DATA, shuffle=True, generator=seeded(trial), num_workers=1, persistent_workers=True, **common),
            DataLoader(DATA, shuffle=True, num_workers=1, persistent_workers=True, **common),
        ],
    }

    def loaders_of(kind: str) -> list[Any]:
        return fixed[kind]()

    if kind in fixed:
        made = loaders_of(kind)
        while True:
            yield made
    for epoch in range(trial._epoch + 1, 100):  # made anew in each epoch, with a seed of its own
        generator = torch.Generator().manual_seed(epoch)
        yield [DataLoader(DATA, shuffle=True, generator=generator, **common)]


def train(trial: Trial, kind: str = "own", late: bool = False) -> None:
    """Draw from every generator there is."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    if late:
        trial.track(net=net, optimizer=optimizer)
    schedule: LRScheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    if not late:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        trial.track(schedule=schedule, net=net, optimizer=optimizer)
    else:
        trial.track(schedule=schedule)
    source = loaders(trial, kind)
    for _ in trial.epochs():
        total = torch.zeros(())
        for loader in next(source):
            for images, labels in trial.batches(loader):
                noisy = images + np.random.normal(0, 0.1) + random.gauss(0, 0.1) + 0.1 * torch.randn(images.shape)
                loss = nn.functional.cross_entropy(net(noisy), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
        schedule.step()
        trial.report(loss=total, lr=optimizer.param_groups[0]["lr"], drawn=random.random() + np.random.rand())
    ENDS["state"] = [value.clone() for value in net.state_dict().values()]


def cut_anywhere(folder: Path, function: Function, ends: dict[str, Any], **params: Any) -> None:
    """Cut a training off after each epoch in turn, and hold what follows against the whole."""
    total = params.pop("epochs", EPOCHS)
    whole = run(function, assignment(folder / "whole", params=params, epochs=total))
    state = ends.pop("state")
    assert whole.epochs == list(range(1, total + 1))
    for last in range(1, total):
        given = assignment(folder / f"cut{last}", params=params, epochs=total)
        first = run(function, given, last)
        second = run(function, goes_on(given, first))
        assert first.metrics + second.metrics == whole.metrics
        assert all(torch.equal(one, other) for one, other in zip(ends.pop("state"), state, strict=True))


@pytest.mark.parametrize("kind", ["own", "global", "both", "two alike", "sampler", "weighted", "anew"])
def test_a_training_that_draws_from_all_generators(tmp_path: Path, kind: str) -> None:
    cut_anywhere(tmp_path, train, ENDS, kind=kind)


def test_workers_that_live_from_epoch_to_epoch(tmp_path: Path) -> None:
    cut_anywhere(tmp_path, train, ENDS, kind="workers", epochs=3)


def test_a_scheduler_made_after_its_optimizer_was_tracked(tmp_path: Path) -> None:
    cut_anywhere(tmp_path, train, ENDS, late=True)


def test_a_training_cut_off_again_and_again(tmp_path: Path) -> None:
    whole = run(train, assignment(tmp_path / "whole"))
    given = assignment(tmp_path / "cut")
    heard = Heard()
    metrics = []
    for epoch in range(1, EPOCHS + 1):
        heard = run(train, goes_on(given, heard) if heard.epochs else given, epoch)
        assert heard.epochs == [epoch]
        metrics += heard.metrics
    assert metrics == whole.metrics


def test_the_generators_of_the_process_do_not_matter(tmp_path: Path) -> None:
    """What is drawn between `track` and the loop, by the making of data or models, does not shift what follows."""

    def draws(trial: Trial, before: int) -> None:
        trial.track(net=nn.Linear(1, 1))
        for _ in range(before):
            random.random()
            np.random.rand()
            torch.rand(1)
        for _ in trial.epochs():
            trial.report(loss=random.random() + np.random.rand() + torch.rand(()).item())

    whole = run(draws, assignment(tmp_path / "whole", params={"before": 0}))
    given = assignment(tmp_path / "cut", params={"before": 0})
    first = run(draws, given, 2)
    second = run(draws, goes_on(given, first, params={"before": 5}))
    assert first.metrics + second.metrics == whole.metrics


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "none"])
def test_the_resnet(folders: Path, optimizer: str, schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = keep_weights(monkeypatch)
    tiny: dict[str, Any] = {"lr": 0.05, "width": 4, "stages": 1, "train_size": 96, "batch_size": 32, "mixup": 0.2}
    given = {**tiny, "optimizer": optimizer, "schedule": schedule, "label_smoothing": 0.1, "epochs": 3}
    cut_anywhere(folders, with_metric(resnet.train), ends, **given)


def test_the_resnet_with_workers_and_a_balanced_sampler(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = keep_weights(monkeypatch)
    tiny: dict[str, Any] = {"lr": 0.05, "width": 4, "stages": 1, "train_size": 96, "batch_size": 32}
    cut_anywhere(folders, with_metric(resnet.train), ends, **tiny, workers=1, sampler="balanced", epochs=2)


def test_the_toy(tmp_path: Path) -> None:
    whole = run(toy.train, assignment(tmp_path / "whole", params={"x": 0.1}))
    given = assignment(tmp_path / "cut", params={"x": 0.1})
    first = run(toy.train, given, 2)
    assert first.metrics + run(toy.train, goes_on(given, first)).metrics == whole.metrics


def keep_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Look at the weights whenever the trainable measures itself."""
    ends: dict[str, Any] = {}
    evaluate = resnet.evaluate

    def watched(net: nn.Module, *args: Any, **more: Any) -> dict[str, float]:
        ends["state"] = [value.clone() for value in net.state_dict().values()]
        return evaluate(net, *args, **more)

    monkeypatch.setattr(resnet, "evaluate", watched)
    return ends


def with_metric(function: Function) -> Function:
    """Report the validation loss under the name that these tests take as the objective."""

    def renamed(trial: Trial, **params: Any) -> None:
        report = trial.report
        trial.report = lambda metrics: report(metrics, loss=metrics["val_loss"])  # type: ignore[assignment,method-assign]
        function(trial, **params)

    return renamed
