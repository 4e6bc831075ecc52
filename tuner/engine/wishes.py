"""What a user asks of a live run from another terminal: a file each, which the run's driver takes away."""

from __future__ import annotations

from pathlib import Path

from tuner.storage import write_whole

FOLDER = "asked"
ALL = "all"


def ask(run: Path, trial: str | None) -> None:
    """Ask for the stop of a trial, or of the whole run."""
    write_whole(run / FOLDER / (trial or ALL), "stop\n", sync=False)


def take(run: Path) -> list[str | None]:
    """Take away what was asked for: trials, or None for the whole run."""
    found: list[str | None] = []
    for path in sorted((run / FOLDER).glob("*")):
        if not path.name.startswith("."):
            path.unlink(missing_ok=True)
            found.append(None if path.name == ALL else path.name)
    return found
