"""A callback that makes the training of a Hugging Face `Trainer` a trial."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import WEIGHTS_NAME

from tuner import Trial
from tuner.errors import UserError
from tuner.trial.tracked import Loop

TIMES = ("_runtime", "_per_second", "_preparation_time")
"""Ends of the names of metrics that say how fast an evaluation was, and nothing of the model."""


class TrialCallback(TrainerCallback):  # type: ignore[misc]
    """Report each evaluation, save and restore through the trial, and end at its last epoch.

    `callback = TrialCallback(trial)`; `Trainer(model, TrainingArguments(num_train_epochs=trial.last_epoch,
    eval_strategy="epoch", save_strategy="no", …), callbacks=[callback], …)`;
    `trainer.train(resume_from_checkpoint=callback.checkpoint)`. Model, optimizer and scheduler are tracked as `model`,
    `optimizer` and `scheduler`. The metrics of an evaluation are reported, and `train_loss` where it was logged. Raises
    UserError where evaluations are not those of whole epochs.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.checkpoint: str | None = None
        """What `train` has to resume from; None where the trial begins. Known when the `Trainer` is made.

        A whole copy of the weights, which is there until `train` has read it.
        """
        self._folder = trial.folder / "resumed"
        self._loop = _Progress()
        self._model: torch.nn.Module | None = None
        self._epochs: Iterator[int] = iter(())
        self._trains = False
        self._logged: dict[str, float] = {}

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Track the model, which restores it where the trial goes on."""
        if args.eval_strategy != "epoch":
            what = "eval_strategy must be 'epoch', since a report belongs to a whole epoch"
            raise UserError(f"TrainingArguments: {what}, but got {args.eval_strategy.value!r}. Give it that.")
        self._model = model = kwargs["model"]
        self.trial.track(model=model, trainer=self._loop)
        if self._loop.text:
            self.checkpoint = str(_checkpoint(self._folder, model, self._loop.text))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Track optimizer and scheduler, which are there only now; by now the checkpoint is read."""
        shutil.rmtree(self._folder, ignore_errors=True)
        optimizer, scheduler = kwargs["optimizer"], kwargs["lr_scheduler"]
        if kwargs["model"] is not self._model:
            raise UserError("Trainer: must get a model, since what `model_init` makes is not tracked. Give it `model`.")
        if self.checkpoint and not state.global_step:
            fix = "Call trainer.train(resume_from_checkpoint=callback.checkpoint)."
            raise UserError(f"Trainer.train: must go on where the trial was saved, but begins anew. {fix}")
        self._loop.state = state
        self.trial.track(optimizer=getattr(optimizer, "optimizer", optimizer), scheduler=scheduler)
        self._epochs = self.trial.epochs()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin an epoch of the trial."""
        next(self._epochs, None)
        self._trains = True  # only now: `eval_on_start` evaluates between the beginning and the first epoch

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: Mapping[str, float] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Keep the training loss for the next report."""
        if logs and "loss" in logs:
            self._logged["train_loss"] = logs["loss"]

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        metrics: Mapping[str, float] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Report; an evaluation outside of the training is none of the trial's."""
        if not self._trains:
            return
        logged, self._logged = self._logged, {}  # what was logged in one epoch is not the next one's
        self.trial.report({**logged, **scores(metrics or {})})
        control.should_training_stop |= state.epoch >= self.trial.last_epoch

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave alone what is evaluated from here on."""
        self._trains = False


def scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Pick what an evaluation says of the model; `Trainer.evaluate` gives its times and the epoch too."""
    return {name: value for name, value in metrics.items() if not name.endswith(TIMES) and name != "epoch"}


class _Progress(Loop):
    """Where a training stands: the `TrainerState`, as its own JSON."""

    def __init__(self) -> None:
        self.state: Any = None
        self.text = ""

    def state_dict(self) -> dict[str, Any]:
        return {"state": json.dumps(dataclasses.asdict(self.state))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.text = state["state"]


def _checkpoint(folder: Path, model: torch.nn.Module, state: str) -> Path:
    """Write what `Trainer.train` insists on to go on from: the state, and the weights that the model has by now."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRAINER_STATE_NAME).write_text(state)
    torch.save(model.state_dict(), folder / WEIGHTS_NAME)
    return folder
