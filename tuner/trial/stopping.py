"""The mark of a stop by hand: a trial saves the report that finds it, whatever `checkpoint.every` says."""

from __future__ import annotations

from pathlib import Path

MARK = "stopping"


def is_stopping(run: Path, trial: Path) -> bool:
    """Tell whether a stop of the run, or of this trial, waits; both are folders."""
    return (trial / MARK).exists() or (run / MARK).exists()
