"""What a trial reports: one finite or spelled-out number for each name."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.errors import UserError


def as_numbers(metrics: Mapping[str, Any], where: str = "trial.report") -> dict[str, float]:
    """Turn numbers of Python, numpy and torch into floats; raises UserError for anything else."""
    if not isinstance(metrics, Mapping):
        raise UserError(f"{where}: must get a mapping or keywords, but got {_shown(metrics)}.")
    values = {}
    for name, value in metrics.items():
        if (number := as_number(value)) is None:
            raise UserError(f"{where}: {name} must be one number, but got {_shown(value)}.")
        values[str(name)] = number
    return values


def as_number(value: Any) -> float | None:
    """Turn one number into a float; None for what is no number, such as a text that could be read as one."""
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def as_epoch(value: Any) -> int:
    """Turn a whole number of Python, numpy or torch into an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"trial.report: epoch must be a whole number, but got {_shown(value)}.") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def check_report(values: Mapping[str, float], objectives: Sequence[str], constrained: Sequence[str]) -> None:
    """Raise UserError where a report lacks an objective, or a metric that has to keep a limit."""
    got = ", ".join(map(repr, values)) or "nothing"
    for metric in objectives:
        if metric not in values:
            raise UserError(
                f"trial.report: must hold the objective {metric!r}, but got {got}. "
                f"Report {metric!r}, or name one of these as objective.metric."
            )
    for metric in constrained:
        if metric not in values:
            raise UserError(
                f"trial.report: must hold {metric!r}, which has a constraint, but got {got}. "
                f"Report {metric!r}, or remove constraints.{metric}."
            )
