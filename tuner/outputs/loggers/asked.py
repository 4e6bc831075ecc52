"""The observers that an experiment asks for with `loggers:`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.outputs.loggers.curves import Curves
from tuner.outputs.loggers.uploader import Uploader
from tuner.spec.loggers import Csv, SomeLogger, Wandb


def asked(loggers: Sequence[SomeLogger], folder: Path, say: Callable[[str], None]) -> list[Curves | Uploader]:
    """Make them; imports the packages of those that are asked for, and no others."""
    return [_observer(logger, folder, say) for logger in loggers]


def _observer(logger: SomeLogger, folder: Path, say: Callable[[str], None]) -> Curves | Uploader:
    if isinstance(logger, Csv):
        return Curves(folder)
    if isinstance(logger, Wandb):
        from tuner.outputs.loggers.wandb_runs import WandbRuns

        return Uploader(WandbRuns(logger, folder), folder, say)
    from tuner.outputs.loggers.mlflow_runs import MlflowRuns

    return Uploader(MlflowRuns(logger), folder, say)
