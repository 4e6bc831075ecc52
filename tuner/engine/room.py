"""Room on the disk of the run's folder: a reserve that is given up when it is full, and when there is room again."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

RESERVE = 256 * 1024
"""Bytes: enough for the records that say that the disk is full, and for a clean end."""
MARGIN = 4 * 2**20
"""Bytes that must find room before the run goes on."""
QUIET_SECONDS = 5.0
"""A trial that finds no room says so each second; so long after the last one did, nobody waits for room any more."""


class Room:
    """Watches the disk of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._complained = folder, 0.0
        """When somebody found no room the last time."""

    def keep_reserve(self) -> None:
        """Put some bytes aside, if there is room for them."""
        path = self.folder / "reserve"
        if not path.exists() or path.stat().st_size != RESERVE:
            _write(path, RESERVE)

    def use_reserve(self) -> int:
        """Give up the reserve; returns the bytes that were free before."""
        before = self.free()
        _delete(self.folder / "reserve")
        return before

    def free(self) -> int:
        """Measure what is free, in bytes."""
        return shutil.disk_usage(self.folder).free

    def complain(self) -> None:
        """Take in that somebody finds no room; it may have been written before there was some."""
        self._complained = time.monotonic()

    def is_there(self) -> bool:
        """Tell whether the run may go on: nobody has complained lately, and some bytes can really be written.

        What is free, as the system tells it, knows nothing of quotas, nor that it was another disk that was full.
        """
        if time.monotonic() < self._complained + QUIET_SECONDS:
            return False
        probe = self.folder / ".probe"
        try:
            return _write(probe, MARGIN)
        finally:
            _delete(probe)


def _write(path: Path, size: int) -> bool:
    """Write so many bytes, no zeros, which some file systems do not store; False where they find no room."""
    try:
        path.write_bytes(os.urandom(size))
    except OSError:
        _delete(path)  # a part of it would take what little there is
        return False
    return True


def _delete(path: Path) -> None:
    """Delete a file, if it is there and the file system allows it."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
