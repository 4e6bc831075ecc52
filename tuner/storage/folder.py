"""A run's ledger and its files in a folder. Every file is whole or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from pathlib import Path

from tuner.errors import Locked

BEST = "best"
"""The folder of the best model, in that of its run."""


class Log:
    """A file that only grows, written by the one process that holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from None
            raise Locked(
                f"{path}: another process is driving this run. Wait for it to end, or stop it first."
            ) from None

    def append(self, data: bytes, sync: bool = True) -> None:
        """Write all of it and sync, or raise OSError with the file as it was before.

        Without `sync` a loss of power may take it, and a crash of this process may not.
        """
        _append(self._file, data, sync)

    def read(self) -> bytes:
        """Read all of it."""
        return self.path.read_bytes()

    def cut(self, size: int) -> None:
        """Drop what lies behind the first `size` bytes."""
        os.ftruncate(self._file, size)
        os.fsync(self._file)

    def close(self) -> None:
        """Give back the lock."""
        os.close(self._file)


def is_url(place: str | Path) -> bool:
    """Tell whether a place is a URL, and no folder."""
    return "://" in str(place)


def is_full(error: OSError) -> bool:
    """Tell whether an error means that there is no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def append_whole(path: Path, data: bytes) -> None:
    """Append all of it, or raise OSError with the file as it was before."""
    with path.open("ab") as file:
        _append(file.fileno(), data, sync=False)


def _append(file: int, data: bytes, sync: bool) -> None:
    size = os.fstat(file).st_size
    try:
        _write_all(file, data)
        if sync:
            os.fdatasync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _write_all(file: int, data: bytes) -> None:
    """Write all of it; raises OSError, ENOSPC where a part of it is written and no more fits."""
    left = memoryview(data)
    while left:
        if (written := os.write(file, left)) == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left = left[written:]


def write_whole(path: Path, data: bytes | str, sync: bool = True) -> None:
    """Write a file so that a reader sees the old one or the new one, and never a part.

    With `sync` that holds after a loss of power too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    file = name.open("xb")  # with the rights that the user gives to all files
    try:
        with file:
            file.write(data.encode() if isinstance(data, str) else data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def delete_folder(path: Path) -> None:
    """Delete a folder and all in it; one that is not there is fine."""
    shutil.rmtree(path, ignore_errors=True)
