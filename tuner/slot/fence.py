"""Only one process trains a trial: it holds a lock that the kernel gives back when it is gone.

A POSIX lock, since that is the process's own: loader workers and grandchildren do not inherit it. The file says who
holds it, so that a predecessor on this machine, which its driver has given up, can be killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

from tuner.slot.process import STACKS
from tuner.storage.machine import started, this_machine

NAME = "lock"
SIZE = 100
STACKS_SECONDS = 0.5
"""How long a process may take to write down what it is doing."""


class Hold:
    """The right to train a trial; taken while it trains, given back while it waits for a decision."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)

    def take(self) -> bool:
        """Take it; False where another process has it."""
        if not self.lock():
            return False
        os.pwrite(self._file, f"{this_machine()} {os.getpid()} {started(os.getpid())}\n".ljust(SIZE).encode(), 0)
        return True

    def lock(self) -> bool:
        """Lock it, under no name as yet; False where another process has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a file system without locks: nobody can be kept off
        return True

    def give_back(self) -> None:
        """Let another process have it."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def holder(self) -> int | None:
        """Name the process of this machine that has it; None where it is another machine's."""
        machine, pid, since = [*os.pread(self._file, SIZE, 0).decode(errors="replace").split(), "", "", ""][:3]
        mine = machine == this_machine() and pid.isdecimal() and started(int(pid)) == since
        return int(pid) if mine else None

    def close(self) -> None:
        """Give it back for good."""
        os.close(self._file)


def prepare(folder: Path) -> None:
    """Make the file while there is room for it: a trial that begins will only write over it."""
    path = folder / NAME
    if not path.exists() or path.stat().st_size < SIZE:
        with path.open("ab") as file:  # its holder, if there is one, has written from the beginning
            file.write(b" " * SIZE)


def keep_off(folder: Path, seconds: float) -> bool:
    """See to it that nobody trains this trial: kill who does on this machine, wait for who does on another."""
    hold = Hold(folder)
    try:
        deadline = time.monotonic() + seconds
        while not hold.lock():
            if (pid := hold.holder()) is not None:
                with contextlib.suppress(OSError):
                    os.kill(pid, STACKS)  # it may be a hung one
                    time.sleep(STACKS_SECONDS)
                    os.killpg(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
    finally:
        hold.close()
