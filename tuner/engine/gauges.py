"""Gauges and counters for Ray's metrics, and so for Prometheus and Grafana: of each live trial, and of the run.

Ray passes a gauge on only where it was set since the last time (each ten seconds), and its agent forgets one that did
not come for twice as long. So what lives is set again once a second, and what ended goes away by itself.
"""

from __future__ import annotations

import os
import time

from ray.util.metrics import Gauge

from tuner.engine.beside import METRICS
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


class Often:
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
        self._often = Often(SECONDS)
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
