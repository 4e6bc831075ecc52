"""Trainables that train nothing, so that the service alone is measured. They import nothing heavy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner import Trial


def many_reports(trial: Trial, *, x: float) -> None:
    """Report each epoch at once."""
    for epoch in trial.epochs():
        trial.report(value=x + epoch)


def one_report(trial: Trial, *, x: float, y: float) -> None:
    """Report the value of a bowl in two dimensions."""
    for _ in trial.epochs():
        trial.report(value=-((x - 0.3) ** 2) - (y - 0.6) ** 2)


def sleeper(trial: Trial, *, x: float, pace: str) -> None:
    """Sleep through each epoch, for as many seconds as the file `pace` says now; report when it was."""
    for _ in trial.epochs():
        time.sleep(float(Path(pace).read_text()))
        trial.report(value=x, reported=time.time())
