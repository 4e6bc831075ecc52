"""Trainables that train nothing, so that rates.py times the service alone. They import nothing heavy."""

from __future__ import annotations

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
