"""(e) This service's trainable: the same function as the peers', timed by the same clock and lines as theirs.

The ledger's own `seconds` run from report to report, so they hold checkpoints and set-up too: no measure of work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.job import OUT, write_line
from trainables.resnet import train as inner
from trainables.resnet import warm_up

if TYPE_CHECKING:
    from tuner import Trial

__all__ = ["train", "warm_up"]


class Timed:
    """A trial whose epochs leave a line each; everything else is the trial's."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial
        self._epoch = 0
        self._began = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def epochs(self) -> Iterator[int]:
        """Start the clock of each epoch."""
        for epoch in self._trial.epochs():
            self._epoch = epoch
            self._began = time.perf_counter()
            yield epoch

    def report(self, metrics: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Stop the clock, then report; the slot's zygote, parent of every trial, stands for the worker."""
        seconds = time.perf_counter() - self._began
        if OUT in os.environ:
            write_line(Path(os.environ[OUT]), self._trial.id, self._epoch, seconds, os.getppid())
        self._trial.report({**(metrics or {}), **more})


def train(
    trial: Trial,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    label_smoothing: float,
    dataset: str,
    batch_size: int,
    width: int,
) -> None:
    """Train the ResNet of trainables/resnet.py, timed."""
    timed: Any = Timed(trial)
    inner(
        timed,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        dataset=dataset,
        batch_size=batch_size,
        width=width,
    )
