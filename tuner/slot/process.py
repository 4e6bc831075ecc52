"""The process of one trial, seen from the slot, and the events that its end makes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tuner.slot.memory import kernel_kills

Event = dict[str, Any]
Status = Callable[["Child", float], int | None]
"""Waits some seconds for the end of a process, and tells how it ended."""
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

    @property
    def listened(self) -> list[Connection]:
        """Where it may say something."""
        return [] if self.hung_up else [self.connection]

    @property
    def tick(self) -> float:
        """Seconds after which to look at it again, whether it has said something or not."""
        return math.inf

    def look(self, status: Status, seconds: float = 0.0) -> None:
        """Learn whether it has ended."""
        if self.status is None:
            self.status = status(self, seconds)

    def say(self, word: str) -> None:
        """Tell it something, if it still listens."""
        with contextlib.suppress(OSError):
            self.connection.send(word)

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

    def died(self, status: int) -> Event:
        """Make the event of its end without a word.

        SIGKILL comes from outside: the trial goes on from its last checkpoint. Any other end is its function's doing.
        """
        if status == -signal.SIGKILL:
            return killed("its process", self.kernel_kills, self.note)
        return failure(f"{ending(status)} in the middle of the trial")


def killed(what: str, kernel_had: int, note: str = "") -> Event:
    """Make the event of a SIGKILL: the kernel's for memory, where it has killed more than it had, else someone's."""
    note = f" ({note})" if note else ""
    if kernel_kills() > kernel_had:
        return {**failure(f"out of memory: {what} was killed by the kernel{note}"), "outcome": "infeasible"}
    reason = f"{what} was killed by {signal.SIGKILL.name} in the middle of the trial{note}"
    return {"event": "lost", "reason": reason, "cause": "worker"}


def failure(reason: str) -> Event:
    """Make the event of a trial whose process is gone."""
    return {"event": "failed", "reason": reason, "error": "", "misuse": False}


def ending(status: int) -> str:
    """Say in words how a process ended."""
    how = f"ended with exit code {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
    return f"its process {how}"


def note_overdue(log: Path, seconds: float, returned: bool) -> None:
    """Note in the log of a trial that is over why its process is killed: it did not end in time."""
    if returned:
        what = "its process had not ended {} s after its function and was killed: a thread or an exit handler held it"
    else:
        what = (
            "its function had not returned {} s after its last report and was ended: "
            "what takes longer belongs before that report"
        )
    with contextlib.suppress(OSError), log.open("a") as file:
        file.write(f"\nnote: {what.format(f'{seconds:g}')}\n")
