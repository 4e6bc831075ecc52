"""A small disk in memory that can be filled to its last byte."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 64


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount it at a new folder; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write into a file until there is no room on its disk."""
    try:
        with path.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                continue
    except OSError:
        return
