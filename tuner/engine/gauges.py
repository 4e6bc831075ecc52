"""Gauges and counters for Ray's metrics, and so for Prometheus and Grafana: of each live trial, and of the run.

Ray passes a gauge on only where it was set since the last time (each ten seconds), and its agent forgets one that did
not come for twice as long. So what lives is set again once a second, and what ended goes away by itself.
"""

from __future__ import annotations

import os
import time
from collections import Counter as Count
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from tuner.core import epochs
from tuner.core.state import RunState
from tuner.engine.cluster import METRICS
from tuner.engine.doing import Doing

SECONDS = 1.0
"""How often at most a gauge is set."""
OF_A_TRIAL = {
    "epoch_seconds": ("seconds", "Seconds of the last epoch"),
    "step_seconds": ("step", "Seconds of a training step; absent where the trial does not use trial.batches"),
    "memory_bytes": ("memory", "Most memory of the trial's process"),
    "gpu_memory_bytes": ("gpu_memory", "Most GPU memory of the trial's process"),
}
"""Name of the gauge → (where a report has it, description)."""


def are_wanted() -> bool:
    """Tell whether Ray collects metrics at all."""
    return os.environ.get(METRICS) != "0"


class _Often:
    """Tells whether it is time again."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next or not are_wanted():
            return False
        self._next = now + self._seconds
        return True


class SlotGauges:
    """What the trial of a slot is at."""

    def __init__(self, run: str, slot: int) -> None:
        self._tags = {"run": run, "slot": str(slot)}
        self._often = _Often(SECONDS)
        keys = (*self._tags, "trial")
        self._epoch = Gauge("tuner_trial_epoch", "Last epoch that a live trial reported", keys)
        self._metric = Gauge("tuner_trial_metric", "Objective of a live trial's last report", (*keys, "metric"))
        self._others = {name: Gauge(f"tuner_trial_{name}", text, keys) for name, (_, text) in OF_A_TRIAL.items()}

    def show(self, doing: Doing) -> None:
        """Set the gauges of a trial that lives, if it is time again."""
        if not self._often.due():
            return
        tags = {**self._tags, "trial": doing.assignment.trial}
        self._epoch.set(doing.epoch, tags)
        if doing.report is None or doing.value is None:
            return
        self._metric.set(doing.value, {**tags, "metric": doing.assignment.metric})
        for name, gauge in self._others.items():
            if (value := doing.report.get(OF_A_TRIAL[name][0])) is not None and (value or name != "step_seconds"):
                gauge.set(value, tags)


class RunGauges:
    """How the run stands, as its driver knows it."""

    def __init__(self, run: RunState) -> None:
        self._run, self._tags, self._often = run, {"run": run.name}, _Often(5 * SECONDS)
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
