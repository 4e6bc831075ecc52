"""The processes of a Ray of our own, found by the folder that they work in; and a program that ends them.

What is just being started is in no list of what runs, so only looking again finds it. The process that a Ray belongs to
cannot do that: it may start more as long as it lives, and once Ray is dead a call of Ray's may hold up all its threads.
So it leaves this program behind, which needs the standard library alone: `python sweeper.py PID START...`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOOK_SECONDS = 0.1
EMPTY_LOOKS = 10
"""So many looks in a row must find nothing: until its program begins, a process looks like the one that starts it."""
PARENT_SECONDS, MOST_SECONDS = 10.0, 60.0
"""So long it waits for its parent's end, and so long it goes on in all: there may be what cannot be killed."""
TITLES = ("ray::", "ray-dashboard")
"""So begin the names of those that rename themselves: their command lines no longer name the folder."""


def leave_behind(starts: Sequence[str]) -> None:
    """Have the processes whose folders' names begin so killed as soon as this one is gone; raises OSError."""
    subprocess.Popen(
        # -I: else the folder of this file came first, whose token.py would hide that of the standard library.
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), *starts],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )  # fmt: skip


def processes(starts: Sequence[str]) -> list[int]:
    """Find the processes of a Ray of our own: they name its folder, or have Ray's names and write their logs there.

    The folder's path is one of `starts`, or begins so.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            spelled = (process / "cmdline").read_bytes()
            if __file__.encode() in spelled:  # this program
                continue
            renamed = (process / "comm").read_text().startswith(TITLES)
            named = any(start.encode() in spelled for start in starts)
            if named or (renamed and _writes_into(process, tuple(starts))):
                found.append(int(process.name))
    return found


def kill(processes: Sequence[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def sweep(parent: int, starts: Sequence[str]) -> None:
    """Wait until a process is gone, then kill until nothing has been found for a while: more may just be starting."""
    begun = time.monotonic()
    while os.getppid() == parent and time.monotonic() < begun + PARENT_SECONDS:
        time.sleep(LOOK_SECONDS / 10)
    empty = 0
    while empty < EMPTY_LOOKS and time.monotonic() < begun + MOST_SECONDS:
        found = processes(starts)
        kill(found)
        empty = 0 if found else empty + 1
        time.sleep(LOOK_SECONDS)


def _writes_into(process: Path, starts: tuple[str, ...]) -> bool:
    """Tell whether it writes there: who only reads may be a worker of another Ray that deletes a dead one's folder."""
    return any(_target(file).startswith(starts) for file in (process / "fd").iterdir() if _is_written(file))


def _is_written(file: Path) -> bool:
    with contextlib.suppress(OSError):  # it was just closed
        return bool(file.lstat().st_mode & stat.S_IWUSR)
    return False


def _target(file: Path) -> str:
    with contextlib.suppress(OSError):  # it was just closed
        return os.readlink(file)
    return ""


if __name__ == "__main__":
    sweep(int(sys.argv[1]), sys.argv[2:])
