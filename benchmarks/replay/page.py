"""Write SEARCH.md and its picture from the kept cells."""

from __future__ import annotations

from pathlib import Path

REPORT = Path(__file__).parents[1] / "SEARCH.md"


def write() -> None:
    """Write the report."""
