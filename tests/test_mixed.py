"""The benchmark that trains models under the virtual clock: they train as the shipped function trains them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from heard import heard

from benchmarks import mixed
from trainables import mlp

PARAMS: dict[str, Any] = {
    "lr": 0.05, "layers": 1, "width": 16, "dropout": 0.2, "activation": "relu", "optimizer": "sgd", "momentum": 0.5,
    "weight_decay": 1e-4, "dataset": "digits", "batch_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(folders: Path) -> None:
    """Share the data set's cache."""


def losses(seed: int, count: int) -> list[float]:
    return list(itertools.islice(mixed.training(PARAMS, seed), count))


def test_the_first_epoch_is_that_of_the_shipped_function(tmp_path: Path) -> None:
    channel, trial = heard(mlp.train, tmp_path, PARAMS)
    assert losses(trial.seed, 1) == [channel.metrics[0]["val_loss"]]


def test_trials_that_take_turns_do_not_disturb_each_other() -> None:
    one, other = mixed.training(PARAMS, 1), mixed.training(PARAMS, 2)
    turns = [(next(one), next(other)) for _ in range(3)]
    torch.rand(5)
    assert [first for first, _ in turns] == losses(1, 3)
    assert [second for _, second in turns] == losses(2, 3)


@pytest.mark.parametrize("kinds", mixed.METHODS, ids="+".join)
def test_each_search_trains_for_the_same_epochs(kinds: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []

    def curve(params: Mapping[str, Any], seed: int) -> Iterator[float]:
        for epoch in itertools.count(1):
            trained.append(seed)
            yield math.nan if params["lr"] > 0.1 else 1 / epoch + params["dropout"]

    monkeypatch.setattr(mixed, "training", curve)
    best = mixed.play(*kinds, 3)
    assert len(trained) == mixed.BUDGET
    assert best == sorted(best, reverse=True) and 1 / mixed.EPOCHS < best[-1] < 1
