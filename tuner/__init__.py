"""Hyperparameter tuning for PyTorch: one function, one YAML, one command."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import Options, load, resume, run
    from tuner.best import load_best
    from tuner.outputs.results import Result
    from tuner.trial import Trial

__version__ = "0.1.0"
__all__ = ["Options", "Result", "Trial", "load", "load_best", "resume", "run"]


HOMES = {
    "Options": "tuner.api",
    "Result": "tuner.outputs.results",
    "Trial": "tuner.trial",
    "load": "tuner.api",
    "load_best": "tuner.best",
    "resume": "tuner.api",
    "run": "tuner.api",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: importing tuner is free."""
    if name not in HOMES:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
