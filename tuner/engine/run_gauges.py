"""Gauges and counters of the run, for Ray's metrics: its driver sets them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from tuner.core import epochs
from tuner.core.state import RunState
from tuner.engine.gauges import SECONDS, Often


class RunGauges:
    """How the run stands, as its driver knows it."""

    def __init__(self, run: RunState) -> None:
        self._run, self._tags, self._often = run, {"run": run.name}, Often(5 * SECONDS)
        self._told = epochs.of_run(run)
        self._trials = Gauge("tuner_trials", "Trials, by what they are at or how they ended", ("run", "state"))
        self._slots = Gauge("tuner_slots", "Trials that fit at once", ("run",))
        self._best = Gauge("tuner_best_value", "Objective of the best report so far", ("run", "metric"))
        self._epochs = Counter("tuner_epochs", "Epochs that this session's trials trained", ("run",))

    def show(self, working: set[str]) -> None:
        """Set them if it is time again; `working` names the trials that have a worker."""
        if not self._often.due():
            return
        for state, number in _states(self._run, working).items():
            self._trials.set(number, {**self._tags, "state": state})
        self._slots.set(self._run.slots, self._tags)
        if self._run.best is not None:
            metric = self._run.spec.objective.metric
            self._best.set(self._run.best.value, {**self._tags, "metric": metric})
        trained = epochs.of_run(self._run)
        if trained > self._told:
            self._epochs.inc(trained - self._told, self._tags)
            self._told = trained


def _states(run: RunState, working: set[str]) -> Mapping[str, int]:
    """Count trials by what they are at, and by outcome once they ended."""
    states = Count({"running": 0, "waiting": 0, "paused": 0})
    for trial in run.everyone():
        if trial.status == "running":
            states["running" if trial.id in working else "waiting"] += 1
        else:
            states[trial.outcome or trial.status] += 1
    return states
