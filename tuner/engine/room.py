"""Room on the disk of the run's folder: a reserve that is given up when it is full, and when there is room again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

NAME = "reserve"
RESERVE = 256 * 1024
"""Bytes: enough for the records that say that the disk is full, and for a clean end."""
MARGIN = 4 * 2**20
"""Bytes that somebody must have freed before the run goes on."""


class Room:
    """Watches the disk of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._at_full = folder, 0

    def keep_reserve(self) -> None:
        """Put some bytes aside, if there is room for them."""
        path = self.folder / NAME
        if path.exists() and path.stat().st_size == RESERVE:
            return
        with contextlib.suppress(OSError), path.open("wb") as file:
            file.write(os.urandom(RESERVE))  # not zeros, which some file systems do not store

    def use_reserve(self) -> int:
        """Give up the reserve; returns the bytes that were free before."""
        before = self.free()
        (self.folder / NAME).unlink(missing_ok=True)
        self._at_full = self.free()
        return before

    def free(self) -> int:
        """Measure what is free, in bytes."""
        return shutil.disk_usage(self.folder).free

    def is_there(self) -> bool:
        """Tell whether somebody has made room since it was full."""
        return self.free() >= self._at_full + MARGIN
