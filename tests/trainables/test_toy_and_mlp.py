"""The toy's known optimum, and the MLP."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from heard import Channel

from trainables import mlp, toy
from tuner.trial import Assignment, Trial


def run(train: Any, folder: Path, params: dict[str, Any], metric: str, **more: Any) -> Channel:
    torch.manual_seed(0)
    channel = Channel()
    assignment = Assignment(run=str(folder), trial="t", params=params, seed=0, metric=metric, **{"epochs": 4, **more})
    train(Trial(assignment, channel), **params)
    return channel


def test_the_toy_follows_its_formula(tmp_path: Path) -> None:
    losses = [metrics["loss"] for metrics in run(toy.train, tmp_path, {"x": 0.8, "y": -0.2}, "loss").metrics]
    assert losses == pytest.approx([0.25 + 0.5**epoch for epoch in range(1, 5)])


def test_the_toys_optimum_is_the_best(tmp_path: Path) -> None:
    best = run(toy.train, tmp_path, dict(toy.OPTIMUM), "score").metrics[-1]["score"]
    others = [{"x": 0.3 + dx, "y": -0.2 + dy} for dx, dy in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01))]
    assert best == 1 - 0.5**4
    assert all(run(toy.train, tmp_path, other, "score").metrics[-1]["score"] < best for other in others)


def test_the_toys_faults(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed at epoch 2"):
        run(toy.train, tmp_path, {"x": 0.5, "fail_epoch": 2}, "loss")
    losses = [metrics["loss"] for metrics in run(toy.train, tmp_path, {"x": 0, "diverge_epoch": 3}, "loss").metrics]
    assert [math.isnan(loss) for loss in losses] == [False, False, True, False]


def test_the_toy_needs_no_torch() -> None:
    code = "import sys, trainables.toy; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.fixture(autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_mlp_learns_and_resumes(tmp_path: Path, optimizer: str) -> None:
    params = {"lr": 0.1 if optimizer == "sgd" else 0.01, "optimizer": optimizer, "dropout": 0.1}
    whole = run(mlp.train, tmp_path, params, "val_accuracy", epochs=3)
    resumed = run(mlp.train, tmp_path, params, "val_accuracy", epochs=3, checkpoint=whole.paths[0], epoch=1)
    assert whole.metrics[-1]["val_accuracy"] > 0.8
    assert resumed.metrics == whole.metrics[1:]


def test_the_mlp_is_as_deep_and_wide_as_asked() -> None:
    from trainables import data

    model = mlp.make_model(data.load("digits"), layers=3, width=7, dropout=0.0, activation="tanh")
    assert [layer.out_features for layer in model if isinstance(layer, torch.nn.Linear)] == [7, 7, 7, 10]
    with pytest.raises(ValueError, match="activation must be one of relu, gelu, tanh, but got 'elu'"):
        mlp.make_model(data.load("digits"), layers=1, width=7, dropout=0.0, activation="elu")
