"""What several tests need to start the real command."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Leave out what would lead a run to a cluster of somebody else."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}


def command(*flags: str) -> list[str]:
    """Spell the command line as a user does."""
    return [sys.executable, str(ROOT / "launch.py"), *flags]
