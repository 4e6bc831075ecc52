"""The session that a plain Ray Tune function finds: its `ray.tune.report` ends in our trial."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuner.storage.machine import mark
from tuner.trial import Trial
from tuner.trial.metrics import as_number


class Session:
    """What `ray.tune.report` and `ray.tune.get_checkpoint` look for in a worker."""

    world_rank = trial_resources = None

    def __init__(self, trial: Trial) -> None:
        from ray.tune import Checkpoint

        self.trial, self.trial_id, self.trial_name = trial, trial.id, trial.id
        self.trial_dir, self.experiment_name = str(trial.folder), trial.folder.parent.parent.name
        self.loaded_checkpoint = Checkpoint.from_directory(str(trial.carried)) if trial.carried else None

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None) -> None:
        """Pass on what is a number, with the function's own checkpoint."""
        if checkpoint is not None:
            self.trial.carry(Path(checkpoint.path))
        numbers = ((name, as_number(value)) for name, value in _flat(metrics))
        self.trial.report({name: number for name, number in numbers if number is not None})


def call(function: Callable[..., Any], trial: Trial) -> None:
    """Call `function(config)` inside a session."""
    from ray.train._internal import session

    session._session = Session(trial)
    function(trial.params)


def use_scratch() -> None:
    """Give this process a temporary folder that the slot deletes.

    As a rule such a function is killed while it reports, inside `with TemporaryDirectory()`.
    """
    own = scratch(os.getpid())
    shutil.rmtree(own, ignore_errors=True)  # of a process that had this number, and whose slot was killed with it
    own.mkdir(mode=0o700)  # which fails where it is another user's still
    tempfile.tempdir = str(own)


def scratch(pid: int) -> Path:
    """Name the temporary folder of a trial's process, so that the next run sweeps it where no slot could."""
    return Path(tempfile.gettempdir()) / mark(pid)


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name what lies deeper as Ray Tune does: `val/loss`."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value
