"""A clone (PBT): the donor's state and counters, its own hyperparameters, and the donor's place in the schedule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from tuner import Trial

from .study import assignment, goes_on, run

EPOCHS = 12
Make = Callable[[Optimizer, list[float]], Any]


def with_sgd(net: nn.Module, lrs: list[float], own: float) -> Optimizer:
    groups = [{"params": [p], "lr": lr} for p, lr in zip(net.parameters(), lrs, strict=True)]
    return SGD(groups, momentum=0.5 + own, weight_decay=own)


def with_adamw(net: nn.Module, lrs: list[float], own: float) -> Optimizer:
    groups = [{"params": [p], "lr": lr} for p, lr in zip(net.parameters(), lrs, strict=True)]
    return AdamW(groups, betas=(0.5 + own, 0.9), weight_decay=own)


def warm_up(optimizer: Optimizer) -> SequentialLR:
    first = LinearLR(optimizer, start_factor=0.1, total_iters=2)
    return SequentialLR(optimizer, [first, CosineAnnealingLR(optimizer, EPOCHS - 2)], milestones=[2])


SCHEDULES: dict[str, Make] = {
    "none": lambda optimizer, lrs: None,
    "step": lambda optimizer, lrs: StepLR(optimizer, 3, 0.5),
    "cosine": lambda optimizer, lrs: CosineAnnealingLR(optimizer, EPOCHS),
    "onecycle": lambda optimizer, lrs: OneCycleLR(optimizer, lrs, total_steps=EPOCHS + 1),
    "lambda": lambda optimizer, lrs: LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
    "restarts": lambda optimizer, lrs: CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "sequential": lambda optimizer, lrs: warm_up(optimizer),
    "chained": lambda optimizer, lrs: ChainedScheduler([ExponentialLR(optimizer, 0.9), StepLR(optimizer, 3, 0.5)]),
}
OPTIMIZERS = {"sgd": with_sgd, "adamw": with_adamw}


class Training:
    """What a function makes, open to the test."""

    def __init__(self, lrs: list[float], own: float, optimizer: str, schedule: Make) -> None:
        self.net = nn.Linear(2, 2)
        self.optimizer = OPTIMIZERS[optimizer](self.net, lrs, own)
        self.fresh = {}
        self.make, self.given = schedule, lrs
        self.schedule: Any = None
        self.seen: list[list[float]] = []

    def train(self, trial: Trial, late: bool = False, first: bool = False) -> None:
        objects = {"net": self.net, "optimizer": self.optimizer}
        if late:
            trial.track(**objects)
        self.schedule = self.make(self.optimizer, self.given)
        objects = ({} if late else objects) | ({"schedule": self.schedule} if self.schedule else {})
        objects = dict(reversed(objects.items())) if first else objects
        self.fresh = copy.deepcopy({name: thing.state_dict() for name, thing in objects.items()})
        trial.track(**objects)
        for _ in trial.epochs():
            self.seen.append(self.lrs)
            self.step()
            trial.report(loss=0)
        self.seen.append(self.lrs)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.net(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()

    @property
    def lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


def pair(folder: Path, optimizer: str, schedule: Make, at: int, **how: bool) -> tuple[Training, Training]:
    """Train a donor to the end, and a clone of it from an epoch on."""
    donor, clone = Training([0.1, 0.2], 0.1, optimizer, schedule), Training([0.3, 0.8], 0.4, optimizer, schedule)
    given = assignment(folder, epochs=EPOCHS, save_every=at)
    heard = run(lambda trial: donor.train(trial, **how), given)
    cut = replace(given, trial="t1", checkpoint=heard.checkpoints[at - 1], epoch=at, cloned=True, save_every=EPOCHS)
    run(lambda trial: clone.train(trial, **how), cut)
    return donor, clone


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("optimizer", "at", "how"),
    [("sgd", 5, {}), ("adamw", 5, {}), ("sgd", 1, {}), ("sgd", 5, {"late": True}), ("sgd", 5, {"first": True})],
    ids=["sgd", "adamw", "early", "late", "schedule first"],
)
def test_the_clone_follows_the_donors_schedule_on_its_own_scale(
    tmp_path: Path, optimizer: str, name: str, how: dict[str, bool], at: int
) -> None:
    donor, clone = pair(tmp_path, optimizer, SCHEDULES[name], at, **how)
    assert len(clone.seen) == EPOCHS - at + 1
    for donors, own in zip(donor.seen[at:], clone.seen, strict=True):
        assert own == pytest.approx([donors[0] * 3, donors[1] * 4])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_state_and_counters_are_the_donors_and_options_its_own(tmp_path: Path, optimizer: str, name: str) -> None:
    at = 5
    donor, clone = Training([0.1, 0.2], 0.1, optimizer, SCHEDULES[name]), None
    given = assignment(tmp_path, epochs=EPOCHS, save_every=at)
    heard = run(donor.train, given, at)
    clone = Training([0.3, 0.8], 0.4, optimizer, SCHEDULES[name])
    none_left = replace(given, trial="t1", checkpoint=heard.checkpoints[-1], epoch=at, cloned=True, epochs=at)
    run(clone.train, none_left)

    assert torch.equal(clone.net.weight, donor.net.weight)
    state, donors = clone.optimizer.state_dict(), donor.optimizer.state_dict()
    assert str(state["state"]) == str(donors["state"])
    for group, fresh in zip(state["param_groups"], clone.fresh["optimizer"]["param_groups"], strict=True):
        assert {k: v for k, v in group.items() if k != "lr"} == {k: v for k, v in fresh.items() if k != "lr"}
    if clone.schedule is None:
        return
    own, theirs, fresh = clone.schedule.state_dict(), donor.schedule.state_dict(), clone.fresh["schedule"]
    assert own.get("last_epoch") == theirs.get("last_epoch")
    assert own.get("base_lrs") == fresh.get("base_lrs")
    assert own["_last_lr"] == clone.lrs
    assert clone.schedule.get_last_lr() == clone.lrs


def test_the_present_lr_is_set_by_hand_where_there_is_no_scheduler(tmp_path: Path) -> None:
    def by_hand(trial: Trial, lr: float) -> None:
        net = nn.Linear(1, 1)
        optimizer = SGD(net.parameters(), lr=lr)
        trial.track(net=net, optimizer=optimizer)
        for _ in trial.epochs():
            optimizer.param_groups[0]["lr"] *= 0.5
            trial.report(loss=0, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, params={"lr": 1.0})
    first = run(by_hand, given, 1)
    resumed = run(by_hand, goes_on(given, first), 2)  # the initial lr is known after a resume as well
    cloned = run(by_hand, goes_on(given, resumed, trial="t1", cloned=True, params={"lr": 8.0}), 3)
    assert cloned.metrics == [{"loss": 0, "lr": 1.0}]
    again = run(by_hand, goes_on(given, cloned, trial="t2", cloned=True, params={"lr": 16.0}))
    assert again.metrics == [{"loss": 0, "lr": 1.0}]


def test_what_is_searched_of_a_schedule_is_the_clones_own(tmp_path: Path) -> None:
    def stepped(trial: Trial, gamma: float) -> None:
        net = nn.Linear(1, 1)
        optimizer = SGD(net.parameters(), lr=1.0)
        schedule = StepLR(optimizer, 2, gamma)
        trial.track(net=net, optimizer=optimizer, schedule=schedule)
        for _ in trial.epochs():
            optimizer.step()
            schedule.step()
            trial.report(loss=0, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, params={"gamma": 0.5})
    heard = run(stepped, given, 2)
    cloned = run(stepped, goes_on(given, heard, trial="t1", cloned=True, params={"gamma": 0.1}))
    assert [m["lr"] for m in cloned.metrics] == pytest.approx([0.5, 0.05])


def test_base_lrs_are_the_clones_own_even_if_the_donor_changed_its_own(tmp_path: Path) -> None:
    def halved(trial: Trial, lr: float) -> None:
        net = nn.Linear(1, 1)
        optimizer = SGD(net.parameters(), lr=lr)
        schedule = LambdaLR(optimizer, lambda epoch: 1.0)
        trial.track(net=net, optimizer=optimizer, schedule=schedule)
        for epoch in trial.epochs():
            if epoch == 2:
                schedule.base_lrs = [lr / 2]
            optimizer.step()
            schedule.step()
            trial.report(loss=0, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, params={"lr": 1.0})
    heard = run(halved, given, 2)
    cloned = run(halved, goes_on(given, heard, trial="t1", cloned=True, params={"lr": 8.0}))
    assert [m["lr"] for m in cloned.metrics] == [8.0, 8.0]


def test_a_plateau_keeps_the_donors_patience_spent(tmp_path: Path) -> None:
    def flat(trial: Trial, lr: float, factor: float) -> None:
        net = nn.Linear(1, 1)
        optimizer = SGD(net.parameters(), lr=lr)
        schedule = ReduceLROnPlateau(optimizer, factor=factor, patience=2)
        trial.track(net=net, optimizer=optimizer, schedule=schedule)
        for _ in trial.epochs():
            schedule.step(1.0)
            trial.report(loss=0, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, params={"lr": 1.0, "factor": 0.5})
    heard = run(flat, given, 3)
    cloned = run(flat, goes_on(given, heard, trial="t1", cloned=True, params={"lr": 10.0, "factor": 0.1}))
    assert [m["lr"] for m in cloned.metrics] == pytest.approx([1.0])


def test_an_lr_that_is_a_tensor_stays_one(tmp_path: Path) -> None:
    def train(trial: Trial, lr: float) -> None:
        net = nn.Linear(1, 1)
        optimizer = AdamW(net.parameters(), lr=torch.tensor(lr), capturable=False, foreach=False)
        schedule = ExponentialLR(optimizer, 0.5)
        trial.track(net=net, optimizer=optimizer, schedule=schedule)
        for _ in trial.epochs():
            optimizer.step()
            schedule.step()
            assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)
            trial.report(loss=0, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, params={"lr": 1.0})
    heard = run(train, given, 2)
    cloned = run(train, goes_on(given, heard, trial="t1", cloned=True, params={"lr": 8.0}))
    assert [m["lr"] for m in cloned.metrics] == pytest.approx([1.0, 0.5])


def test_a_cloned_trial_that_is_cut_off_goes_on_as_if_it_was_not(tmp_path: Path) -> None:
    def train(trial: Trial, lr: float) -> None:
        net = nn.Linear(2, 2)
        optimizer = SGD(net.parameters(), lr=lr, momentum=0.9)
        schedule = CosineAnnealingLR(optimizer, 6)
        trial.track(net=net, optimizer=optimizer, schedule=schedule)
        for _ in trial.epochs():
            loss = net(torch.randn(4, 2)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            trial.report(loss=loss, lr=optimizer.param_groups[0]["lr"])

    given = assignment(tmp_path, epochs=6, params={"lr": 0.1})
    donor = run(train, given, 2)
    own = goes_on(given, donor, trial="t1", seed=8, cloned=True, generation=1, params={"lr": 0.2})
    whole = run(train, own)
    cut = run(train, replace(own, attempt="3.0"), 4)
    after = run(train, goes_on(own, cut, cloned=False))
    assert cut.metrics + after.metrics == whole.metrics
    assert whole.epochs == [3, 4, 5, 6]
