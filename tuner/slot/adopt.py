"""What a dead predecessor of a process saved and nobody heard of: its epochs are taken over, not trained again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.trial import Assignment
from tuner.trial.checkpoint import MANIFEST, is_whole

NAME = re.compile(r"g(\d+)_e(\d+)_a(\d+)\.(\d+)")


def adopt(assignment: Assignment) -> tuple[list[dict[str, Any]], Assignment]:
    """Find the newest whole checkpoint behind the one to start from.

    Returns the reports up to it, as events, and the assignment from there on.
    """
    later = sorted(_later(assignment), reverse=True)
    for i, (epoch, _, path) in enumerate(later):
        if is_whole(path):
            heard = {one["epoch"]: one for _, _, older in reversed(later[i:]) for one in _reports(assignment, older)}
            events = [heard[one] for one in sorted(heard) if assignment.epoch < one <= epoch]
            name = str(path.relative_to(assignment.run))
            return events, replace(assignment, checkpoint=name, epoch=epoch, cloned=False)
    return [], assignment


def _later(assignment: Assignment) -> Iterator[tuple[int, tuple[int, int], Path]]:
    """List the checkpoints of this generation behind the assignment's: epoch, attempt, folder."""
    for path in (assignment.folder / "checkpoints").glob(f"g{assignment.generation}_e*"):
        if (match := NAME.fullmatch(path.name)) and int(match[2]) > assignment.epoch:
            yield int(match[2]), (int(match[3]), int(match[4])), path


def _reports(assignment: Assignment, path: Path) -> Iterator[dict[str, Any]]:
    """Read what was reported since the checkpoint before this one; nothing where it is not whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        for one in manifest["reports"]:
            yield {
                "event": "report",
                "epoch": int(one["epoch"]),
                "metrics": {name: float(value) for name, value in one["metrics"].items()},
                "checkpoint": str(path.relative_to(assignment.run)) if one["epoch"] == manifest["epoch"] else None,
                "seconds": float(one["seconds"]),
                "memory": int(one["memory"]),
            }
    except (OSError, ValueError, KeyError, TypeError):
        return
