"""Hyperparameter tuning for PyTorch: one function, one YAML, one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import Result, load, run
    from tuner.trial import Trial

__version__ = "0.1.0"
__all__ = ["Result", "Trial", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: importing tuner is free."""
    if name == "Trial":
        from tuner.trial import Trial

        return Trial
    if name in __all__:
        from tuner import api

        return getattr(api, name)
    raise AttributeError(f"module 'tuner' has no attribute {name!r}")
