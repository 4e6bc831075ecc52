"""What a user asks of a live run from another terminal: a file each, which the run's driver takes away."""

from __future__ import annotations

import contextlib
from pathlib import Path

FOLDER = "asked"
ALL = "all"


def ask(run: Path, trial: str | None) -> None:
    """Ask for the stop of a trial, or of the whole run."""
    (run / FOLDER).mkdir(exist_ok=True)
    (run / FOLDER / (trial or ALL)).touch()  # an empty file: it is there at once, and a full disk has room for it


def prepare(run: Path) -> None:
    """Make the folder while there is room for it."""
    with contextlib.suppress(OSError):
        (run / FOLDER).mkdir(exist_ok=True)


def take(run: Path) -> list[str | None]:
    """Take away what was asked for: trials, or None for the whole run."""
    found: list[str | None] = []
    for path in sorted((run / FOLDER).glob("*")):
        if not path.name.startswith("."):
            path.unlink(missing_ok=True)
            found.append(None if path.name == ALL else path.name)
    return found
