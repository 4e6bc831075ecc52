"""The pipeline: one step, whatever the split and the micro-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from heard import Channel

from trainables import data, pipeline
from tuner.trial import Assignment, Trial

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run(folder: Path, params: dict[str, Any], **more: Any) -> Channel:
    channel = Channel()
    torch.manual_seed(0)
    params = {"train_size": 320, "batch_size": 64, "layers": 2, "width": 16, "heads": 2, "lr": 3e-3, **params}
    facts: dict[str, Any] = {"seed": 0, "metric": "images_per_second", "epochs": 2, **more}
    pipeline.train(Trial(Assignment(run=str(folder), trial="t", params=params, **facts), channel), **params)
    return channel


def learned(channel: Channel) -> list[dict[str, float]]:
    """Leave out what hangs on the machine."""
    return [{k: v for k, v in metrics.items() if k != "images_per_second"} for metrics in channel.metrics]


def gradients(images: torch.Tensor, labels: torch.Tensor, split: int | None, micro_batches: int) -> list[torch.Tensor]:
    """Take the gradients of a model of three blocks, cut or, without a split, by itself."""
    torch.manual_seed(0)
    digits = data.load("digits")
    model = pipeline.make_model(digits, layers=3, width=16, heads=2, patch=2).double()
    if split is None:
        torch.nn.functional.cross_entropy(model(images), labels).backward()
    else:
        cut = pipeline.Pipeline(model, split=split, micro_batches=micro_batches, devices=[CPU, CPU])
        cut.loss(images, labels).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("micro_batches", [1, 3, 10, 64])  # 3 are not equally large; of 10 images 64 cannot be made
def test_the_gradient_is_that_of_the_whole_batch(split: int, micro_batches: int) -> None:
    torch.manual_seed(1)
    images, labels = torch.randn(10, 1, 8, 8, dtype=torch.float64), torch.randint(10, (10,))
    whole = gradients(images, labels, None, 1)
    torch.testing.assert_close(gradients(images, labels, split, micro_batches), whole, rtol=1e-9, atol=1e-12)


def test_training_is_the_same_for_any_split_and_micro_batches(tmp_path: Path) -> None:
    whole = learned(run(tmp_path / "whole", {"split": 2, "micro_batches": 1}))
    parts = learned(run(tmp_path / "parts", {"split": 1, "micro_batches": 5}))
    assert [pytest.approx(metrics, rel=1e-3) for metrics in whole] == parts


def test_stage_one_runs_ahead_of_stage_two() -> None:
    calls: list[str] = []
    model = pipeline.make_model(data.load("digits"), layers=2, width=16, heads=2, patch=2)
    cut = pipeline.Pipeline(model, split=1, micro_batches=3, devices=[CPU])
    cut.stage1.register_forward_hook(lambda *_: calls.append("1"))
    cut.stage2.register_forward_hook(lambda *_: calls.append("2"))
    cut.logits(torch.randn(6, 1, 8, 8))
    assert "".join(calls) == "112122"


def test_the_split_says_where_each_block_is() -> None:
    model = pipeline.make_model(data.load("digits"), layers=3, width=16, heads=2, patch=2)
    meta = torch.device("meta")  # a device that every machine has
    pipeline.Pipeline(model, split=2, micro_batches=1, devices=[CPU, meta])
    places = [next(layer.parameters()).device.type for layer in model]
    assert places == ["cpu", "cpu", "cpu", "meta", "meta"]


@pytest.mark.parametrize("split", [-1, 4])
def test_a_split_outside_the_model_is_refused(split: int) -> None:
    model = pipeline.make_model(data.load("digits"), layers=3, width=16, heads=2, patch=2)
    with pytest.raises(ValueError, match=f"split must be from 0 to the 3 blocks of the model, but got {split}"):
        pipeline.Pipeline(model, split=split, micro_batches=1, devices=[CPU])


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="patch must divide the 8 x 8 pixels of an image, but got 3"):
        pipeline.Embed((1, 8, 8), 16, 3)


def test_it_learns_reports_its_speed_and_resumes_with_another_split(tmp_path: Path) -> None:
    params = {"split": 1, "micro_batches": 2, "train_size": None, "lr": 0.01}
    whole = run(tmp_path, params, epochs=6)
    assert whole.metrics[-1]["val_accuracy"] > 0.6  # six epochs of a very small one; by chance it would be 0.1
    assert all(metrics["images_per_second"] > 0 for metrics in whole.metrics)
    resumed = run(tmp_path, params, epochs=6, checkpoint=whole.paths[0], epoch=1)
    assert learned(resumed) == learned(whole)[1:]
    moved = run(tmp_path, {**params, "split": 2}, epochs=2, checkpoint=whole.paths[0], epoch=1, attempt="2.0")
    assert learned(moved)[0] == pytest.approx(learned(whole)[1], rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_trains_in_other_precisions(tmp_path: Path, precision: str) -> None:
    exact = run(tmp_path / "fp32", {"split": 1}, epochs=1).metrics[0]["train_loss"]
    rough = run(tmp_path / precision, {"split": 1}, epochs=1, precision=precision).metrics[0]["train_loss"]
    assert rough == pytest.approx(exact, rel=0.05) and rough != exact


def test_the_speed_leaves_out_the_first_batch_unless_it_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 12.0, 0.0, 10.0, 20.0])
    monkeypatch.setattr(pipeline.time, "perf_counter", lambda: next(clock))
    speeds = []
    for images in ([7, 30, 30], [40]):
        speed = pipeline.Speed([CPU])
        for count in images:
            speed.count(count)
        speeds.append(speed.per_second())
    assert speeds == [30.0, 2.0]


def test_the_warm_up_takes_what_the_yaml_fixes() -> None:
    with pytest.raises(ValueError, match="patch must divide"):
        pipeline.warm_up(train_size=32, batch_size=8, layers=1, width=16, heads=2, patch=3)
    pipeline.warm_up(train_size=32, batch_size=8, layers=1, width=16, heads=2)


def test_a_process_without_gpus_has_one_device(tmp_path: Path) -> None:
    trial = Trial(Assignment(run=str(tmp_path), trial="t", params={}, seed=0, metric="x", epochs=1), Channel())
    assert trial.devices == [CPU]


def test_a_process_has_no_more_devices_than_it_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    facts = {"run": str(tmp_path), "trial": "t", "params": {}, "seed": 0, "metric": "x", "epochs": 1}
    names = [[str(one) for one in Trial(Assignment(**facts, gpus=gpus), Channel()).devices] for gpus in (0.5, 2, 8)]
    assert names == [["cuda:0"], ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]]
