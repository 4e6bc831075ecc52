"""The session that a plain Ray Tune function finds: its `ray.tune.report` ends in our trial."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.trial import Trial


class Session:
    """What `ray.tune.report` and `ray.tune.get_checkpoint` look for in a worker."""

    world_rank = None

    def __init__(self, trial: Trial) -> None:
        from ray.tune import Checkpoint

        self.trial, self.trial_id, self.trial_name = trial, trial.id, trial.id
        self.loaded_checkpoint = Checkpoint.from_directory(str(trial.carried)) if trial.carried else None

    def report(self, metrics: dict[str, Any], checkpoint: Any = None) -> None:
        """Pass on what is a number, with the function's own checkpoint."""
        if checkpoint is not None:
            self.trial.carry(Path(checkpoint.path))
        numeric = {n: v for n, v in metrics.items() if isinstance(v, numbers.Number) or hasattr(v, "item")}
        self.trial.report(numeric)


def call(function: Callable[..., Any], trial: Trial) -> None:
    """Call `function(config)` inside a session."""
    from ray.train._internal import session

    session._session = Session(trial)
    function(trial.params)
