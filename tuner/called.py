"""How the command was called: what people are told to type next has to work where they are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

INSTALLED = "tuner"
"""The command that the package installs."""


def called() -> str:
    """Spell the command as it was called; the installed one where this process is no command of ours."""
    program = Path(sys.argv[0])
    if program.name == "launch.py":
        return f"python {shlex.quote(sys.argv[0])}"
    if program.name == "__main__.py" and program.parent.name == INSTALLED:
        return f"python -m {INSTALLED}"
    return INSTALLED


def resuming(folder: Path, address: str | None = None) -> str:
    """Spell the command that resumes a run, on the cluster whose address was given."""
    cluster = f" --address {shlex.quote(address)}" if address else ""
    return f"{called()} --resume {shlex.quote(str(folder))}{cluster}"


def how_to_go_on(folder: Path, address: str | None = None) -> str:
    """Tell what goes on with a run, on the cluster whose address was given."""
    return f"Go on with: {resuming(folder, address)}"
