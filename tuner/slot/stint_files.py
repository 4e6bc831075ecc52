"""The files of one stint of a trial, where its run is stored at a URL."""

from __future__ import annotations

import time
from pathlib import Path

from tuner.slot.adopt import NAME
from tuner.slot.process import Event
from tuner.storage import delete_folder
from tuner.storage.transfer import get_folder, put_changed, put_folder
from tuner.storage.url import Objects
from tuner.trial import Assignment
from tuner.trial.checkpoint import MANIFEST, is_whole
from tuner.trial.stopping import MARK

CHECKPOINTS = "checkpoints"
ELSEWHERE = (CHECKPOINTS, "lock", MARK)
"""What lies in a trial's folder and is not put with its other files."""
PARAMS = "params.json"
"""Written anew for each stint, so that of an earlier one is never fetched."""
FILES_SECONDS = 10.0
"""Log, params and files of the trial's own are put with a checkpoint, not more often than this."""


class StintFiles:
    """What a stint needs from the URL, and what it adds there. Used by one thread."""

    def __init__(self, assignment: Assignment, is_apart: bool) -> None:
        self.assignment, self.is_apart = assignment, is_apart
        """`is_apart`: it works in a folder that nobody else knows, so that nobody else clears it."""
        self._objects: Objects | None = None
        self._there: set[str] = set()
        """Checkpoints that are known to be at the URL."""
        self._known: dict[str, tuple[int, int]] = {}
        """Other files there: their size and time."""
        self._put_files_at = 0.0

    def fetch(self) -> None:
        """Get the checkpoint to start from, those that a predecessor left behind it, and the trial's other files.

        Raises NotWhole where the checkpoint is not there.
        """
        given = self.assignment
        listed = self._open().list(f"trials/{given.trial}")
        self._there = {name.removesuffix(f"/{MANIFEST}") for name in listed if name.endswith(f"/{MANIFEST}")}
        later = [name for name in self._there if self._is_later(name)]
        for name in [*later, *([given.checkpoint] if given.checkpoint else [])]:
            if not is_whole(Path(given.run) / name):
                get_folder(self._open(), name, Path(given.run) / name, MANIFEST)
        if self._goes_on:
            self._fetch_files(listed)

    def put(self, event: Event) -> None:
        """Put the checkpoint of a report, and now and then the trial's other files."""
        name, given = event["checkpoint"], self.assignment
        if name not in self._there:
            put_folder(self._open(), name, Path(given.run) / name, MANIFEST)
            self._there.add(name)
        if event["epoch"] >= given.epochs or time.monotonic() > self._put_files_at + FILES_SECONDS:
            self.put_files()
        if self.is_apart:
            self._clear(event["epoch"])

    def put_files(self) -> None:
        """Put the log, and what else is new in the trial's folder."""
        if self._objects is not None:
            below = f"trials/{self.assignment.trial}/"
            put_changed(self._objects, below, self.assignment.folder, self._known, ELSEWHERE)
            self._put_files_at = time.monotonic()

    def _open(self) -> Objects:
        """Open the URL, once; that imports fsspec and its like."""
        if self._objects is None:
            self._objects = Objects(self.assignment.storage)
        return self._objects

    @property
    def _goes_on(self) -> bool:
        """Tell whether the trial was at work before; else its files at the URL are those of a forgotten one."""
        return bool(self.assignment.generation) or self.assignment.attempt != f"{self.assignment.since}.0"

    def _is_later(self, name: str) -> bool:
        """Tell whether a checkpoint may hold epochs that nobody has heard of."""
        match = NAME.fullmatch(Path(name).name)
        return match is not None and self.assignment.may_adopt(*map(int, match.groups()[:3]))

    def _fetch_files(self, listed: dict[str, int]) -> None:
        """Get those files of the trial that are not here, or less than there: another machine's log has gone on."""
        below = f"trials/{self.assignment.trial}/"
        files = {name: self.assignment.folder / name.removeprefix(below) for name in listed}
        wanted = {
            name: path
            for name, path in files.items()
            if name.removeprefix(below).split("/")[0] not in (*ELSEWHERE, PARAMS)
            and (not path.exists() or path.stat().st_size < listed[name])
        }
        if wanted:
            self._open().get_files(wanted)

    def _clear(self, epoch: int) -> None:
        """Delete the checkpoints before one that is put: the trial goes on from that, wherever it does."""
        for path in (self.assignment.folder / CHECKPOINTS).glob("*"):
            if (match := NAME.fullmatch(path.name)) and int(match[2]) < epoch:
                delete_folder(path)
