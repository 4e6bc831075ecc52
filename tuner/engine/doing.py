"""What a slot is doing just now, for whoever looks at Ray's dashboard, at `ps` or at the worker's log."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.slot.launcher import log_name
from tuner.trial import Assignment

TITLE = 250
"""The most characters of a title: a line of the dashboard's table, which would grow with it."""


class Doing:
    """One stint of a trial as it is told to people; it hears the same events as the driver."""

    def __init__(self, assignment: Assignment, searched: Collection[str]) -> None:
        self.assignment = assignment
        self.epoch = assignment.epoch
        self.report: Mapping[str, Any] | None = None
        """The newest one of this stint."""
        self.end = ""
        self._params = " ".join(f"{key}={_short(assignment.params[key])}" for key in _in(assignment, searched))

    def hear(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take in what the slot said."""
        for event in events:
            kind = event["event"]
            if kind == "report":
                self.epoch, self.report = event["epoch"], event
            elif kind not in ("beat", "full"):
                reason = event.get("reason", "")
                self.end = f"{event.get('outcome', kind)}: {reason}" if reason else kind

    @property
    def value(self) -> float | None:
        """Give the objective of the newest report; None before the first."""
        return None if self.report is None else float(self.report["metrics"][self.assignment.metric])

    def title(self, place: str) -> str:
        """Say it in one line, which begins as the titles of all processes of Ray do."""
        return f"ray::{place}: {self.assignment.trial} {self._progress()} {self._params}"[:TITLE]

    def begins(self) -> str:
        """Say which trial begins, from where, with which params."""
        given = self.assignment
        start = f"after epoch {given.epoch}, from {given.checkpoint}" if given.checkpoint else "from nothing"
        return f"{given.trial} begins {start}: {self._params}"

    def ends(self) -> str:
        """Say how it ended, as far as the slot knows."""
        return f"{self.assignment.trial} ends, {self._progress()}: {self.end or self._verdict()}"

    def _verdict(self) -> str:
        """Guess why the driver had it stopped, from what both have seen."""
        if self.value is not None and not math.isfinite(self.value):
            return "diverged"
        return "finished" if self.epoch >= self.assignment.epochs else "stopped"

    def _progress(self) -> str:
        latest = "" if self.value is None else f" {self.assignment.metric}={_short(self.value)}"
        return f"epoch {self.epoch}/{self.assignment.epochs}{latest}"

    def link_logs(self, folder: Path, of: Path) -> None:
        """Have the logs in the folder `of` the trial be found below one of Ray's logs, which its dashboard shows."""
        run = folder / "tuner" / Path(self.assignment.run).name
        with contextlib.suppress(OSError):  # a convenience
            run.mkdir(parents=True, exist_ok=True)
            for rank in range(self.assignment.ranks):
                name = log_name(rank)
                link = run / f"{self.assignment.trial}-{name}"
                link.unlink(missing_ok=True)
                link.symlink_to(of / name)


def _in(assignment: Assignment, searched: Collection[str]) -> list[str]:
    """Name the params that were searched and are passed, in the order of the YAML."""
    return [key for key in searched if key in assignment.params]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
