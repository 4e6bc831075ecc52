"""The observers that an experiment asks for with `loggers:`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tuner.core.records import Record
from tuner.core.state import RunState
from tuner.outputs.loggers.curves import Curves
from tuner.outputs.loggers.uploader import Uploader
from tuner.spec.loggers import Csv, SomeLogger, Wandb


class Logger(Protocol):
    """Sees every record of the run from the first on, also on a resume: what it makes can always be made again."""

    def see(self, record: Record, run: RunState) -> None:
        """Take in a record; `run` has it applied already."""
        ...

    def close(self, run: RunState) -> None:
        """The driver ends; the run may go on later."""
        ...


def asked(loggers: Sequence[SomeLogger], folder: Path, say: Callable[[str], None]) -> list[Logger]:
    """Make them; imports the packages of those that are asked for, and no others."""
    return [_observer(logger, folder, say) for logger in loggers]


def _observer(logger: SomeLogger, folder: Path, say: Callable[[str], None]) -> Logger:
    if isinstance(logger, Csv):
        return Curves(folder)
    if isinstance(logger, Wandb):
        from tuner.outputs.loggers.wandb_runs import WandbRuns

        return Uploader(WandbRuns(logger, folder), folder, say)
    from tuner.outputs.loggers.mlflow_runs import MlflowRuns

    return Uploader(MlflowRuns(logger), folder, say)
