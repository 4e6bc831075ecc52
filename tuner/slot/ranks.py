"""The ranks of one trial, each a process, seen from the slot as one: they begin, fail and end together.

While all is well rank 0 speaks for all. Where one fails the others are heard out for a moment: they may have failed in
the same way, or, where it died, by the connection to it that is gone. Then those that wait for it are killed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from tuner.slot.process import Child, Event, Status, ending
from tuner.storage.machine import scratch
from tuner.trial import Assignment

TICK = 0.05
CAUSE_SECONDS = 0.3
"""How long others are heard out once a cause is known: where all fail in the same way no rank is named."""
ECHO_SECONDS = 5.0
"""How long the cause is waited for where all that is known is that a connection was lost."""


class Starts(Protocol):
    """Makes processes; see `tuner.slot.launcher`."""

    def launch(self, assignment: Assignment) -> Child:
        """Start one."""
        ...


def launch(launcher: Starts, assignment: Assignment) -> Child | Ranks:
    """Start all processes of a trial; raises Lost or Refused."""
    if assignment.ranks == 1:
        return launcher.launch(assignment)
    folder = scratch("ranks-")
    each = replace(assignment, gpus=assignment.gpus / assignment.ranks, meeting=str(folder / "store"))
    ranks = Ranks([], folder)
    try:
        for rank in range(assignment.ranks):
            ranks.children.append(launcher.launch(replace(each, rank=rank)))
    except BaseException:
        ranks.kill()
        ranks.bury()
        raise
    return ranks


class Ranks:
    """The processes of one trial, with the face of a single one."""

    def __init__(self, children: list[Child], folder: Path) -> None:
        self.children = children
        self._folder = folder
        """Where they meet."""
        self._ends: dict[int, Event] = {}
        """rank → its last word, or that it ended without one."""
        self._since: float | None = None
        """When it was first known that one has failed."""
        self._told = False

    @property
    def pid(self) -> int:
        """Rank 0's."""
        return self.children[0].pid

    @property
    def status(self) -> int | None:
        """How they ended: the first status that is not 0; None while any lives."""
        known = [child.status for child in self.children if child.status is not None]
        return None if len(known) < len(self.children) else next((one for one in known if one), 0)

    @property
    def listened(self) -> list[Connection]:
        """Where they may say something."""
        return [connection for child in self.children for connection in child.listened]

    @property
    def tick(self) -> float:
        """Seconds after which to look at them again: soon, while they are heard out."""
        return TICK if self._since is not None and not self._told else math.inf

    def look(self, status: Status, seconds: float = 0.0) -> None:
        """Learn which of them have ended."""
        deadline = time.monotonic() + seconds
        for child in self.children:
            child.look(status, max(0.0, deadline - time.monotonic()))

    def read(self) -> Event | None:
        """Take what the trial has said: rank 0's reports, the return of all, or why they failed."""
        while (message := self.children[0].read()) is not None:
            if message["event"] in ("report", "full"):
                return message
            self._ends.setdefault(0, message)
        for rank, child in enumerate(self.children[1:], start=1):
            while (message := child.read()) is not None:
                self._ends.setdefault(rank, message)
        for rank, child in enumerate(self.children):
            if child.status is not None:  # it was read after its end was known: there is nothing more to come
                self._ends.setdefault(rank, _silent_end(child, child.status))
        return None if self._told else self._end()

    def say(self, word: str) -> None:
        """Tell it rank 0, which waits for the others."""
        self.children[0].say(word)

    def dump_stacks(self) -> None:
        """Have each write what it is doing into its log."""
        for child in self.children:
            child.dump_stacks()

    def kill(self) -> None:
        """Kill them all."""
        for child in self.children:
            child.kill()

    def bury(self) -> None:
        """Kill what they have left behind, and delete the file by which they met."""
        for child in self.children:
            child.bury()
        shutil.rmtree(self._folder, ignore_errors=True)

    def died(self, status: int) -> Event:
        """Make the event of an end that nobody explains."""
        return {"event": "lost", "reason": ending(status), "cause": "worker"}

    def _end(self) -> Event | None:
        """Make the event of their end, once enough is known of it."""
        failed = {rank: end for rank, end in self._ends.items() if end["event"] != "returned"}
        complete = len(self._ends) == len(self.children)
        if not failed:
            if complete:
                self._let_go()
            return self._ends[0] if complete else None
        self._since = self._since or time.monotonic()
        patience = ECHO_SECONDS if all(map(_is_echo, failed.values())) else CAUSE_SECONDS
        if not complete and time.monotonic() - self._since < patience:
            return None
        self._let_go()
        rank = min(failed, key=lambda rank: (_weight(failed[rank]), rank))
        return self._named(rank, list(failed.values()))

    def _let_go(self) -> None:
        """Let those leave that have said their last: had one gone alone, another might have lost a message of its."""
        self._told = True
        for rank, child in enumerate(self.children):
            if rank in self._ends:
                child.say("leave")
            else:  # it waits for one that will not come
                child.kill()

    def _named(self, rank: int, failed: Sequence[Event]) -> Event:
        """Say which rank it was, unless it was all of them."""
        end = {key: value for key, value in self._ends[rank].items() if key != "echo"}
        same = len(failed) == len(self.children) and len({one["reason"] for one in failed}) == 1
        return end if same else {**end, "reason": f"{end['reason']} (rank {rank})"}


def _silent_end(child: Child, status: int) -> Event:
    """Make the event of a rank that ended without a word: its trial goes on from the last checkpoint."""
    died = child.died(status)
    if "outcome" in died or died["event"] == "lost":
        return died
    return {"event": "lost", "reason": ending(status), "cause": "worker"}


def _is_echo(end: Event) -> bool:
    return bool(end.get("echo"))


def _weight(end: Event) -> int:
    """Order what may be the cause: no memory, an error or a full disk, a death, and last what follows from another."""
    if end.get("outcome") == "infeasible":
        return 0
    if _is_echo(end):
        return 3
    return 2 if end["event"] == "lost" and end.get("cause", "worker") == "worker" else 1
