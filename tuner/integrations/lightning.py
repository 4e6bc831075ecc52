"""A callback that makes the fit of a Lightning `Trainer` a trial."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer.states import TrainerFn

from tuner import Trial
from tuner.trial.tracked import Loop

KEPT_ELSEWHERE = ("state_dict", "optimizer_states", "lr_schedulers")
"""Parts of Lightning's checkpoint that the trial tracks itself: a clone keeps its own learning rate."""
NOT_RESTORED = ("hparams_name", "hyper_parameters", "datamodule_hparams_name", "datamodule_hyper_parameters")
"""What only `load_from_checkpoint` reads: it may hold anything, and the params of a trial are known."""


class TrialCallback(Callback):  # type: ignore[misc]
    """Report each epoch with a validation, save and restore through the trial, and end at its last epoch.

    Give it to the `Trainer`, in one process: `Trainer(max_epochs=trial.last_epoch, callbacks=[TrialCallback(trial)])`.
    Model, optimizers and schedulers are tracked as `model`, `optimizer` and `scheduler` (`optimizer0`, … where there
    are several). What was logged counts as the metrics of a report.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._epochs: Iterator[int] = iter(())
        self._due = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Track all that there is now, which restores it where the trial goes on."""
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        objects = {**_named("optimizer", trainer.optimizers), **_named("scheduler", schedulers)}
        self.trial.track(model=pl_module, lightning=_Fit(trainer), **objects)
        self._epochs, self._due = self.trial.epochs(), False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the loaders' own generators saved and restored, as `trial.batches` does."""
        for loader in trainer.fit_loop._combined_loader.flattened:
            self.trial._loaders.meet(loader, self.trial._epoch + 1)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch before: only now is all of it over, the steps of schedulers among it."""
        self._report(trainer)
        next(self._epochs, None)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that there is something to report; a validation outside of the fit is none of the trial's."""
        self._due = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the fit where the trial ends; without a validation every epoch is reported."""
        self._due = self._due or not trainer.enable_validation
        if trainer.current_epoch + 1 >= self.trial.last_epoch:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last epoch."""
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        if self._due:
            self.trial.report(trainer.callback_metrics)
            self._due = False


class _Fit(Loop):
    """Where a fit stands: Lightning's own checkpoint, without what the trial tracks."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Take it between two epochs."""
        state = self.trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        return {name: part for name, part in state.items() if name not in (*KEPT_ELSEWHERE, *NOT_RESTORED)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it as Lightning does, but for the loops: these go on with a new epoch and have none to complete."""
        connector, fit_loop = self.trainer._checkpoint_connector, self.trainer.fit_loop
        connector._loaded_checkpoint = state
        connector.restore_datamodule()
        connector.restore_callbacks()
        connector.restore_precision_plugin_state()
        connector.restore_loops()
        connector._loaded_checkpoint = {}  # else the rest of it, which is not in it, would be looked for
        for progress in (fit_loop.epoch_progress.total, fit_loop.epoch_progress.current):
            progress.reset_on_restart()
        _settle(fit_loop)


def _settle(loop: _Loop) -> None:
    """Have a loop, and those in it, begin as after a whole epoch."""
    loop.on_iteration_done()
    for inner in vars(loop).values():
        if isinstance(inner, _Loop):
            _settle(inner)


def _named(name: str, things: list[Any]) -> dict[str, Any]:
    return {name: things[0]} if len(things) == 1 else {f"{name}{number}": thing for number, thing in enumerate(things)}
