"""Ray Tune as its guide shows it: `OptunaSearch` and `ASHAScheduler`, the real classes, without Ray's processes.

They are called as `ray/tune/execution/tune_controller.py` calls them. max_t is the last epoch, the grace one epoch, all
else as it is by default. OptunaSearch cannot be told that other params ran than it suggested, so it keeps its own.
"""

from __future__ import annotations

import logging
import warnings
from types import SimpleNamespace
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.replay.clock import Action, Work, play
from benchmarks.replay.tables import Axis, Task
from benchmarks.replay.trace import Terms, Trace

METRIC, EPOCH = "value", "training_iteration"


def run(task: Task, terms: Terms) -> Trace:
    """Let Ray's searcher and scheduler search a table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    return play(RayGuide(task, terms.seed), task, terms)


class RayGuide:
    """Searcher and scheduler, and the trials as far as they look at them."""

    def __init__(self, task: Task, seed: int) -> None:
        self.search = OptunaSearch(seed=seed)
        space = {axis.name: _domain(axis) for axis in task.axes}
        self.search.set_search_properties(METRIC, task.mode, space)
        self.scheduler = ASHAScheduler(metric=METRIC, mode=task.mode, max_t=task.epochs, grace_period=1)
        self.trials: dict[str, SimpleNamespace] = {}

    def next(self) -> Work | None:
        """Ask the searcher for a trial, and tell the scheduler of it."""
        name = f"t{len(self.trials):04d}"
        params = self.search.suggest(name)
        if params is None:
            return None
        self.trials[name] = SimpleNamespace(trial_id=name, config=params, status=Trial.RUNNING, experiment_tag=name)
        self.scheduler.on_trial_add(None, self.trials[name])
        return Work(name, params)

    def ran(self, trial: str, params: dict[str, Any]) -> None:
        """Keep the params that were suggested."""

    def report(self, trial: str, epoch: int, value: float, ended: bool) -> Action:
        """Tell both of an epoch; a trial that ends by itself has `done` in its last result."""
        result: dict[str, Any] = {"trial_id": trial, EPOCH: epoch, METRIC: value}
        if ended:
            self.scheduler.on_trial_complete(None, self.trials[trial], result)
            action = TrialScheduler.STOP
        else:
            action = self.scheduler.on_trial_result(None, self.trials[trial], result)
        if action == TrialScheduler.STOP:
            self.trials[trial].status = Trial.TERMINATED
            self.search.on_trial_complete(trial, result)
            return "stop"
        self.search.on_trial_result(trial, result)
        return "go"


def _domain(axis: Axis) -> Any:
    if axis.whole:  # Ray's upper bound of whole numbers is not included.
        return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
    return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)
