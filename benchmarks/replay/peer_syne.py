"""Syne Tune's asynchronous schedulers, told what its own `Tuner` would tell them (`syne_tune/tuner.py`).

max_t is the last epoch, all else as it is by default. Each trial is given to the scheduler with the config that ran,
the table's own, since `on_trial_add` and `on_trial_result` take a trial with its config.
"""

from __future__ import annotations

import datetime
import logging
import warnings
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import lograndint, loguniform, randint, uniform
from syne_tune.optimizer import baselines
from syne_tune.optimizer.scheduler import SchedulerDecision

from benchmarks.replay.clock import Action, Work, play
from benchmarks.replay.tables import Axis, Task
from benchmarks.replay.trace import Terms, Trace

METRIC, EPOCH = "value", "epoch"


def run(task: Task, terms: Terms, kind: str) -> Trace:
    """Let one of Syne Tune's schedulers search a table."""
    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    np.random.seed(terms.seed)  # brackets, and some searchers, draw from numpy's global state
    return play(Syne(task, terms.seed, kind), task, terms)


class Syne:
    """A scheduler and its trials."""

    def __init__(self, task: Task, seed: int, kind: str) -> None:
        self.scheduler = getattr(baselines, kind)(
            {axis.name: _domain(axis) for axis in task.axes},
            metric=METRIC,
            time_attr=EPOCH,
            max_t=task.epochs,
            do_minimize=task.mode == "min",
            random_seed=seed,
        )
        self.trials: dict[str, Trial] = {}

    def next(self) -> Work | None:
        """Ask for a new trial, or for a paused one that goes on."""
        found = self.scheduler.suggest()
        if found is None:
            return None
        if not found.spawn_new_trial_id:
            return Work(str(found.checkpoint_trial_id))
        number = len(self.trials)
        self.trials[str(number)] = Trial(number, found.config, datetime.datetime(2026, 1, 1))
        return Work(str(number), found.config)

    def ran(self, trial: str, params: dict[str, Any]) -> None:
        """Add a trial with the params that it really has."""
        self.trials[trial].config.update(params)
        self.scheduler.on_trial_add(self.trials[trial])

    def report(self, trial: str, epoch: int, value: float, ended: bool) -> Action:
        """Tell of an epoch; a trial that ends by itself completes with its last result."""
        one, result = self.trials[trial], {METRIC: value, EPOCH: epoch}
        if ended:
            self.scheduler.on_trial_complete(one, result)
            return "stop"
        decision = self.scheduler.on_trial_result(one, result)
        if decision == SchedulerDecision.CONTINUE:
            return "go"
        self.scheduler.on_trial_remove(one)
        return "pause" if decision == SchedulerDecision.PAUSE else "stop"


def _domain(axis: Axis) -> Any:
    if axis.whole:
        return (lograndint if axis.log else randint)(int(axis.low), int(axis.high))
    return (loguniform if axis.log else uniform)(axis.low, axis.high)
