"""The processes of a Ray of our own, found by the folder that they work in; and a program that ends them.

What is just being started is in no list of what runs, so only looking again finds it. The process that a Ray belongs to
cannot do that: it may start more as long as it lives, and once Ray is dead a call of Ray's may keep all its threads.
So it leaves this program behind, which needs the standard library alone: `python sweeper.py PID FOLDER...`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOOK_SECONDS = 0.1
TITLES = ("ray::", "ray-dashboard")
"""So begin the names of those that have forgotten how they were called."""


def leave_behind(scratches: Sequence[Path]) -> None:
    """Have the processes that belong to these folders killed as soon as this one is gone."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), *map(str, scratches)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )  # fmt: skip


def processes(scratch: Path) -> list[int]:
    """Find the processes of a Ray of our own: they name its folder, or have Ray's names and write their logs there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(scratch).encode() in (process / "cmdline").read_bytes()
            if named or ((process / "comm").read_text().startswith(TITLES) and _writes_into(process, scratch)):
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(processes: Sequence[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def sweep(parent: int, scratches: Sequence[Path]) -> None:
    """Wait until a process is gone, then kill until two looks have found nothing: one of them may just be starting."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS / 10)
    empty = 0
    while empty < 2:
        found = [pid for scratch in scratches for pid in processes(scratch)]
        kill(found)
        empty = 0 if found else empty + 1
        time.sleep(LOOK_SECONDS)


def _writes_into(process: Path, folder: Path) -> bool:
    return any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())


if __name__ == "__main__":
    sweep(int(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
