"""The Trainers of Lightning and of Hugging Face as trials: killed and resumed, cut short, extended, taken away."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from played import trained
from slot.bench import Bench, hear, until_end
from torch.utils.data import DataLoader
from trial.study import assignment, goes_on, run

import tuner
from tuner.engine.evaluate import stint
from tuner.errors import UserError
from tuner.outputs import results
from tuner.slot.code import Code
from tuner.trial import formats

pytestmark = pytest.mark.slow

SMALL = {"dataset": "digits", "train_size": 200, "batch_size": 50, "dropout": 0.3, "width": 16, "lr": 0.01}
EXAMPLES = {
    "lightning_digits": (SMALL, "val_loss"),
    "hf_trainer": ({**SMALL, "layers": 1, "heads": 2}, "eval_loss"),
}


@pytest.fixture(scope="module", params=EXAMPLES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Bench]]:
    """A slot for one example, whose zygote imports its library once."""
    bench = Bench(tmp_path_factory.mktemp(request.param))
    bench.slot(Code(module=f"trainables.{request.param}", function="train"))
    yield request.param, bench
    for slot in bench.slots:
        slot.close()


def reports(events: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    assert events[-1]["event"] == "returned", events[-1]
    return [(event["epoch"], event["metrics"]) for event in events[:-1]]


def test_killed_in_an_epoch_it_goes_on_to_the_same_end(bench: tuple[str, Bench]) -> None:
    """The optimizer, the schedule, dropout and the order of the data go on where they were."""
    name, slots = bench
    (slot,), (params, metric) = slots.slots, EXAMPLES[name]
    given = slots.assignment("whole", params=params, metric=metric, epochs=4, seed=3)
    whole = reports(slots.run(slot, given))
    assert [epoch for epoch, _ in whole] == [1, 2, 3, 4]
    assert {metric, "train_loss"} <= whole[0][1].keys()
    broken = replace(given, trial="broken")
    slot.begin(broken)
    first = [hear(slot), hear(slot)]
    slot.step(time.monotonic())
    os.kill(slot._child.pid, signal.SIGKILL)  # type: ignore[union-attr]
    while hear(slot)["event"] == "report":
        pass
    slot.begin(replace(broken, checkpoint=first[-1]["checkpoint"], epoch=2, attempt="1.1"))
    rest = reports(until_end(slot))
    assert [(event["epoch"], event["metrics"]) for event in first] + rest == whole
    kept = {path.name for path in (slots.root / "run" / "trials" / "broken").iterdir()}
    assert "resumed" not in kept  # a copy of all weights, of no use once it is read


def test_a_larger_budget_goes_on_and_a_smaller_one_ends(bench: tuple[str, Bench]) -> None:
    name, slots = bench
    (slot,), (params, metric) = slots.slots, EXAMPLES[name]
    given = slots.assignment("grows", params=params, metric=metric, epochs=1)
    events = slots.run(slot, given)
    assert [epoch for epoch, _ in reports(events)] == [1]
    larger = replace(given, checkpoint=events[0]["checkpoint"], epoch=1, attempt="2.0", epochs=3, horizon=1)
    more = reports(slots.run(slot, larger))
    assert [epoch for epoch, _ in more] == [2, 3]
    if name == "lightning_digits":  # its cosine has ended at 0, and stays there
        assert len({metrics["val_loss"] for _, metrics in [*reports(events), *more]}) == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_best_is_taken_away(name: str, tmp_path: Path, folders: Path) -> None:
    params, metric = EXAMPLES[name]
    module = importlib.import_module(f"trainables.{name}")
    parts = {"space": {"lr": {"dist": "float", "low": 0.001, "high": 0.01}}, "fixed": {**params}}
    del parts["fixed"]["lr"]
    folder = tmp_path / "run"
    folder.mkdir()
    objective, budget = {"metric": metric, "mode": "min"}, {"trials": 1, "epochs": 2}
    trained(folder, module.train, trainable=f"trainables.{name}:train", objective=objective, budget=budget, **parts)
    state = results.read_state(folder)
    results.write(folder, state, "finished")
    assert state.chosen is not None
    assert formats.write(module.train, stint(folder, state, state.chosen, "take"))["problems"] == {}
    kept = {path.name for path in (folder / "best").iterdir() if path.suffix == ".pt"}
    assert kept == ({"model.pt", "normalize.pt"} if name == "hf_trainer" else {"model.pt"})
    model = tuner.load_best(folder)
    assert not model.training
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    program = torch.export.load(folder / "best" / "model.pt2").module()
    if name == "hf_trainer":
        images = tuner.load_best(folder, "normalize")(images)
        made, meant = program(pixel_values=images).logits, model(pixel_values=images).logits
    else:
        made, meant = program(images), model(images)
    torch.testing.assert_close(made, meant)


@pytest.mark.parametrize("sanity", [0, 2])
def test_a_validation_outside_of_the_fit_is_not_reported(tmp_path: Path, sanity: int) -> None:
    from lightning.pytorch import Trainer

    from tuner.integrations.lightning import TrialCallback

    def train(trial: tuner.Trial) -> None:
        model, batches = Line(), DataLoader(torch.ones(4, 1), 2)
        trainer = Trainer(
            max_epochs=trial.last_epoch, callbacks=[TrialCallback(trial)], accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=sanity,
        )  # fmt: skip
        trainer.validate(model, batches, verbose=False)
        trainer.fit(model, batches, batches)
        trainer.validate(model, batches, verbose=False)

    assert run(train, assignment(tmp_path, epochs=2)).epochs == [1, 2]


def test_an_evaluation_before_the_first_epoch_is_not_reported(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    from tuner.integrations.huggingface import TrialCallback

    def train(trial: tuner.Trial) -> None:
        callback = TrialCallback(trial)
        arguments = TrainingArguments(
            output_dir=str(trial.folder), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no",
            eval_strategy="epoch", eval_on_start=True, num_train_epochs=trial.last_epoch,
            logging_strategy="epoch",
        )  # fmt: skip
        rows = [{"x": torch.ones(1), "labels": torch.ones(1)}] * 4
        trainer = Trainer(Dotted(), arguments, callbacks=[callback], train_dataset=rows, eval_dataset=rows)
        trainer.train(resume_from_checkpoint=callback.checkpoint)

    given = assignment(tmp_path, epochs=2, metric="eval_loss")
    heard = run(train, given, 1)
    assert heard.epochs == [1]
    assert "train_loss" in heard.metrics[0], "it was trained before it was evaluated"
    rest = run(train, goes_on(given, heard))
    assert (rest.epochs, "train_loss" in rest.metrics[0]) == ([2], True), "nor where it goes on"


def test_a_training_loss_is_reported_with_the_epoch_in_which_it_was_logged(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    from tuner.integrations.huggingface import TrialCallback, scores

    def train(trial: tuner.Trial) -> None:
        callback = TrialCallback(trial)
        arguments = TrainingArguments(
            output_dir=str(trial.folder), report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no",
            eval_strategy="epoch", num_train_epochs=trial.last_epoch, per_device_train_batch_size=2, logging_steps=3,
        )  # fmt: skip
        rows = [{"x": torch.ones(1), "labels": torch.ones(1)}] * 4
        trainer = Trainer(Dotted(), arguments, callbacks=[callback], train_dataset=rows, eval_dataset=rows)
        trainer.train(resume_from_checkpoint=callback.checkpoint)
        trial.test(lambda: scores(trainer.evaluate(rows, metric_key_prefix="test")))

    heard = run(train, assignment(tmp_path, epochs=4, metric="eval_loss"))
    assert ["train_loss" in metrics for metrics in heard.metrics] == [False, True, True, False], "steps 3 and 6 of 8"
    assert all(name.endswith("_loss") for metrics in heard.metrics for name in metrics)


class Dotted(torch.nn.Module):
    """One layer that learns a one, in the form that transformers asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        made = self.layer(x)
        return {"loss": (made - labels).square().mean(), "logits": made}


class Line(LightningModule):
    """One layer that learns a one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        return (self.layer(batch) - 1).square().mean()

    def validation_step(self, batch: torch.Tensor, number: int) -> None:
        self.log("loss", self.training_step(batch, number))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_does_not_fit_a_trial_is_refused(tmp_path: Path, folders: Path) -> None:
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

    from tuner.integrations.huggingface import TrialCallback

    def make(trial: tuner.Trial, **more: Any) -> Trainer:
        arguments = TrainingArguments(output_dir=str(trial.folder), report_to="none", use_cpu=True, **more)
        model = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, hidden_size=12, num_hidden_layers=1))
        return Trainer(model, arguments, callbacks=[TrialCallback(trial)], eval_dataset=[])

    with pytest.raises(UserError, match=r"^TrainingArguments: eval_strategy must be 'epoch', .* but got 'steps'\."):
        run(lambda trial: make(trial, eval_strategy="steps"), assignment(tmp_path))
