"""The process of one trial, seen from the slot, and the events that its end makes."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from tuner.slot.memory import kernel_kills

Event = dict[str, Any]
STACKS = signal.SIGUSR2
"""Has a trial's process write the Python stacks of all its threads into its log."""


@dataclass(slots=True)
class Child:
    """The process of one trial, seen from the slot."""

    pid: int
    connection: Connection
    status: int | None = None
    """How it ended: its exit code, or minus the number of the signal."""
    hung_up: bool = False
    """It has closed its end of the connection."""
    kernel_kills: int = field(default_factory=kernel_kills)
    """How many processes the kernel had killed for memory when this one began."""
    note: str = ""
    """What it has found out about itself, should it be killed."""

    def read(self) -> Event | None:
        """Take what it has said, if anything; a note is kept."""
        try:
            while self.connection.poll():
                message = dict(self.connection.recv())
                if message["event"] != "note":
                    return message
                self.note = message["text"]
        except (EOFError, OSError):
            self.hung_up = True
        return None

    def dump_stacks(self) -> None:
        """Have it write what it is doing into its log."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, STACKS)

    def kill(self) -> None:
        """Kill it with its whole group; right after the fork it may not have one yet."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except OSError:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Kill what it has left behind in its group."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        self.connection.close()


def failure(reason: str) -> Event:
    """Make the event of a trial whose process is gone."""
    return {"event": "failed", "reason": reason, "error": "", "misuse": False}


def died(child: Child, status: int) -> Event:
    """Make the event of a trial whose process has ended without a word."""
    note = f" ({child.note})" if child.note and status == -signal.SIGKILL else ""
    if status == -signal.SIGKILL and kernel_kills() > child.kernel_kills:
        reason = f"out of memory: its process was killed by the kernel{note}"
        return {**failure(reason), "outcome": "infeasible"}
    return failure(f"{ending(status)} in the middle of the trial{note}")


def ending(status: int) -> str:
    """Say in words how a process ended."""
    how = f"ended with exit code {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
    return f"its process {how}"
