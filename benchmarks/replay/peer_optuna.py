"""Optuna alone: TPESampler and HyperbandPruner, as its tutorial on pruning pairs them, on a study in memory.

The trials of the workers are open at once, as with `n_jobs`. Optuna's `tell` takes no params, so a trial keeps those
that were suggested, although the table's nearest config ran. A trial that diverged is told as pruned.
"""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.replay.clock import Action, Work, play
from benchmarks.replay.tables import Axis, Task
from benchmarks.replay.trace import Terms, Trace


def run(task: Task, terms: Terms) -> Trace:
    """Let Optuna search a table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    return play(Optuna(task, terms.seed), task, terms)


class Optuna:
    """A study and its open trials."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.study = optuna.create_study(
            study_name=f"replay-{seed}",  # the pruner draws a trial's bracket from it
            direction="minimize" if task.mode == "min" else "maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=task.epochs),
        )
        self.space = {axis.name: _distribution(axis) for axis in task.axes}
        self.trials: dict[str, optuna.Trial] = {}

    def next(self) -> Work:
        """Ask for a trial."""
        trial = self.study.ask(self.space)
        self.trials[str(trial.number)] = trial
        return Work(str(trial.number), trial.params)

    def ran(self, trial: str, params: dict[str, Any]) -> None:
        """Keep the params that were suggested."""

    def report(self, trial: str, epoch: int, value: float, ended: bool) -> Action:
        """Report an epoch, and ask whether the trial goes on."""
        one = self.trials[trial]
        one.report(value, epoch)
        if epoch == self.task.epochs and not ended:
            self.study.tell(one, value)
        elif ended or one.should_prune():
            self.study.tell(one, state=TrialState.PRUNED)
        else:
            return "go"
        return "stop"


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    if axis.whole:
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
