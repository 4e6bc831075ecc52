"""What a dead predecessor of a process saved and nobody heard of: its epochs are taken over, not trained again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
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
        if is_whole(path) and (events := _without_gap(assignment, [path for _, _, path in later[i:]])) is not None:
            name = str(path.relative_to(assignment.run))
            return events, replace(assignment, checkpoint=name, epoch=epoch, cloned=False)
    return [], assignment


def newest_attempt(run: Path) -> int:
    """Find the last session of a run that has left a checkpoint; 0 where none has.

    Its ledger may have been cut, or restored from a copy: the next session must not take over what a forgotten one
    saved under the same number, of trials with other params.
    """
    names = (NAME.fullmatch(path.name) for path in run.glob("trials/*/checkpoints/g*"))
    return max((int(name[3]) for name in names if name), default=0)


def _without_gap(assignment: Assignment, paths: Sequence[Path]) -> list[dict[str, Any]] | None:
    """Gather the reports from the assignment's epoch up to the first of these checkpoints, the newest first.

    None where a manifest between them is gone, and the reports with it.
    """
    heard: dict[int, dict[str, Any]] = {}
    reaches: int | None = None
    for path in paths:
        after, reports = _reports(assignment, path)
        if reports and (reaches is None or reports[-1]["epoch"] == reaches):
            heard.update({one["epoch"]: one for one in reports})
            reaches = after
        if reaches is not None and reaches <= assignment.epoch:
            return [heard[epoch] for epoch in sorted(heard) if epoch > assignment.epoch]
    return None


def _later(assignment: Assignment) -> Iterator[tuple[int, tuple[int, int], Path]]:
    """List the checkpoints of this generation behind the assignment's: epoch, attempt, folder."""
    for path in (assignment.folder / "checkpoints").glob(f"g{assignment.generation}_e*"):
        if (match := NAME.fullmatch(path.name)) and assignment.may_adopt(*map(int, match.groups()[:3])):
            yield int(match[2]), (int(match[3]), int(match[4])), path


def _reports(assignment: Assignment, path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Read the epoch of the checkpoint before this one, and what was reported since; nothing where it is not whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        reports = [
            {
                "event": "report",
                "epoch": int(one["epoch"]),
                "metrics": {name: float(value) for name, value in one["metrics"].items()},
                "checkpoint": str(path.relative_to(assignment.run)) if one["epoch"] == manifest["epoch"] else None,
                "seconds": float(one["seconds"]),
                "memory": int(one["memory"]),
                "gpu_memory": int(one.get("gpu_memory", 0)),
                "step": float(one.get("step", 0.0)),
                "context": int(one.get("context", 0)),
                "inherited": True,
            }
            for one in manifest["reports"]
        ]
        return int(manifest["after"]), reports
    except (OSError, ValueError, KeyError, TypeError):
        return 0, []
