"""The contract of the trainables: a trial that was cut off goes on as if it never had been, and can be taken away.

That each can be trained by its YAML is tested for every file in search_spaces/ (tests/test_search_spaces.py).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from heard import heard
from support import ROOT

from tuner.trial import Assignment, checkpoint
from tuner.trial.take import take

SMALL = {"train_size": 100, "batch_size": 50}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "toy": ("score", {"x": 0.5}),
    "mlp": ("val_accuracy", {"lr": 0.01, "dropout": 0.1, **SMALL}),
    "resnet": ("val_accuracy", {"lr": 0.1, "width": 4, "mixup": 0.3, **SMALL}),
}
"""For each: the metric, and params with which an epoch is short."""
ELSEWHERE = {
    "finetune": "test_finetune_trainable.py",
    "pipeline": "test_pipeline_trainable.py",
    "lightning_digits": "../integrations/test_trainers.py",
    "hf_trainer": "../integrations/test_trainers.py",
}
"""Those that need more than params, and where they are cut off."""
NOT_TRAINED = {"__init__", "pretrain"}


@pytest.fixture(autouse=True)
def cached(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(shared_cache))


def test_every_trainable_is_tried() -> None:
    there = {path.stem for path in (ROOT / "trainables").glob("*.py")}
    assert set(CASES) | set(ELSEWHERE) | NOT_TRAINED == there
    for file in ELSEWHERE.values():
        assert "checkpoint=" in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_as_if_it_had_never_been_cut_off(name: str, tmp_path: Path) -> None:
    metric, params = CASES[name]
    train = importlib.import_module(f"trainables.{name}").train
    whole, _ = heard(train, tmp_path / "whole", params, metric=metric)
    assert len(whole.metrics) == 3 and all(metric in one for one in whole.metrics)
    cut, _ = heard(train, tmp_path / "cut", params, metric=metric, last=1)
    resumed, _ = heard(train, tmp_path / "cut", params, metric=metric, checkpoint=cut.paths[0], epoch=1, attempt="2.0")
    assert resumed.metrics == whole.metrics[1:]


@pytest.mark.parametrize("name", ["mlp", "resnet"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_computes_in_the_precision_of_the_yaml(
    name: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metric, params = CASES[name]
    train = importlib.import_module(f"trainables.{name}").train
    losses = []
    for asked in ("fp32", precision):
        channel, _ = heard(train, tmp_path / asked, params, metric=metric, last=1, precision=asked)
        losses.append(channel.metrics[0]["train_loss"])
        assert (tmp_path / asked / str(channel.paths[0]) / "scaler.pt").exists() == (asked == "fp16")
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[1] != losses[0]
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize("name", CASES)
def test_what_it_tracks_can_be_taken_away(name: str, tmp_path: Path) -> None:
    """As `load_best` does: it is run up to its `trial.track`, and no further."""
    metric, params = CASES[name]
    train = importlib.import_module(f"trainables.{name}").train
    channel, trial = heard(train, tmp_path, params, metric=metric, last=1)
    folder = tmp_path / str(channel.paths[0])
    assignment = Assignment(run="", trial="t", params=params, seed=3, metric=metric, epochs=3)
    taken = take(train, assignment, list(trial._tracked), lambda name: checkpoint.load(folder, name))
    assert set(taken.objects) == set(trial._tracked)
