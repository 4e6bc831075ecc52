"""What a function may do with its trial beside reporting: its loop, what it tracks, seeds and batches."""

from __future__ import annotations

import random
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.errors import UserError

from .study import Function, Heard, assignment, goes_on, run


def test_a_loop_that_was_left_goes_on_where_it_was(tmp_path: Path) -> None:
    seen = []

    def twice(trial: Trial) -> None:
        for epoch in trial.epochs():
            seen.append(epoch)
            trial.report(loss=1)
            if epoch == 2:
                break
        seen.append(0)
        for epoch in trial.epochs():
            seen.append(epoch)
            trial.report(loss=1)

    run(twice, assignment(tmp_path))
    assert seen == [1, 2, 0, 3, 4]


def test_a_finished_trial_has_no_epochs_left(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for _ in trial.epochs():
            trial.report(loss=1)

    given = assignment(tmp_path)
    assert run(train, goes_on(given, run(train, given))).epochs == []


class HalfState:
    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("thing", [3, None, HalfState(), {"state_dict": 1}, nn.Linear])
def test_what_has_no_state_cannot_be_tracked(tmp_path: Path, thing: Any) -> None:
    if thing is nn.Linear:  # a class has the methods, and no state
        thing = [nn.Linear(1, 1)]
    with pytest.raises(UserError, match=r"^trial\.track\(thing=\.\.\.\): must have state_dict and load_state_dict"):
        run(lambda trial: trial.track(thing=thing), assignment(tmp_path))


@pytest.mark.parametrize("name", ["trial", "manifest", "a/b", "../x", ""])
def test_names_that_would_clash_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="must be another name; trial and manifest are the trial's own"):
        run(lambda trial: trial.track(**{name: nn.Linear(1, 1)}), assignment(tmp_path))


def test_a_tracked_object_that_was_renamed_is_refused(tmp_path: Path) -> None:
    given = assignment(tmp_path)

    def named(name: str) -> Function:
        def train(trial: Trial) -> None:
            trial.track(**{name: nn.Linear(1, 1)})
            trial.report(loss=1)

        return train

    heard = run(named("net"), given)
    with pytest.raises(UserError, match=r"trial\.track\(model=\.\.\.\): is not in the checkpoint .*g0_e0001.*renamed"):
        run(named("model"), goes_on(given, heard))


def test_seeds_are_the_same_for_the_same_trial(tmp_path: Path) -> None:
    def draws(trial: Trial) -> None:
        trial.report(loss=random.random(), a=np.random.rand(), b=torch.rand(()), seed=trial.seed)

    first, again = (run(draws, assignment(tmp_path, seed=3)).metrics for _ in range(2))
    other = run(draws, assignment(tmp_path, seed=4)).metrics
    assert first == again
    assert not set(first[0].values()) & set(other[0].values())


def test_what_a_trial_tells_of_itself(tmp_path: Path) -> None:
    trial = Trial(assignment(tmp_path, params={"lr": 1}, epochs=9), Heard())
    assert (trial.id, trial.params, trial.seed, trial.total_epochs) == ("t0", {"lr": 1}, 7, 9)
    assert trial.folder == tmp_path / "trials" / "t0"
    assert trial.device == torch.device("cpu")
    trial.params["lr"] = 2
    assert trial.params == {"lr": 1}


def test_batches_are_the_loaders_own(tmp_path: Path) -> None:
    trial = Trial(assignment(tmp_path), Heard())
    assert list(trial.batches([1, 2])) == [1, 2]
    assert list(trial.batches(iter("ab"))) == ["a", "b"]


def test_loaders_that_are_made_anew_are_not_kept(tmp_path: Path) -> None:
    try:
        weakref.ref(torch.Generator())
    except TypeError:
        pytest.skip(f"torch {torch.__version__} has no weak references to generators")
    sizes = []

    def train(trial: Trial) -> None:
        trial.track(net=nn.Linear(1, 1))
        for epoch in trial.epochs():
            generator = torch.Generator().manual_seed(epoch)
            list(trial.batches(torch.utils.data.DataLoader([1, 2], shuffle=True, generator=generator)))
            trial.report(loss=1)
            sizes.append(len(trial._loaders.states()["loaders"]))

    run(train, assignment(tmp_path, epochs=6))
    assert sizes == [1] * 6


@pytest.mark.parametrize(("cpus", "workers", "threads"), [(4, 0, 4), (2, 0, 3), (4, 1, 3), (4, 3, 1), (2, 5, 1)])
def test_the_workers_of_a_loader_are_among_the_cpus_of_its_trial(
    tmp_path: Path, cpus: int, workers: int, threads: int
) -> None:
    before, seen = torch.get_num_threads(), []
    loader = torch.utils.data.DataLoader([1, 2], num_workers=workers)

    def train(trial: Trial) -> None:
        for _ in trial.batches(loader):
            seen.append(torch.get_num_threads())
        trial.report(loss=0)

    torch.set_num_threads(3)
    try:
        run(train, assignment(tmp_path, cpus=cpus))
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {threads}
