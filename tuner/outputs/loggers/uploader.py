"""Keeps a service up to date with the ledger, in a thread of its own: a server that is slow or gone holds up nobody."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tuner.core.records import Asked, Ended, Header, Record, Repeated, Report, Suggested, Tick
from tuner.core.state import RunState
from tuner.core.trial import TrialState

FIRST_REST, LONGEST_REST = 30.0, 600.0
"""Seconds for which a service that failed is left alone: at first, and at most."""
PATIENCE = 15.0
"""Seconds without progress after which the end of a run waits no longer."""

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that runs are sent to. Each call may fail by any exception, and is then made again later."""

    name: str
    """How users call it."""

    def begin(self, run: RunState, identity: str) -> None:
        """Connect, and look up what is there of this run; `identity` tells it from all other runs."""
        ...

    def update(self, trial: TrialState, run: RunState) -> None:
        """Bring what is there of a trial to where the trial stands."""
        ...

    def finish(self, run: RunState) -> None:
        """Mark the best, and say how the run stands, at the end of its driver."""
        ...


class Uploader:
    """An observer that passes a run on to a service.

    It keeps a state of its own, and remembers which trials have news. So what a service missed while it did not answer
    is sent at once when it does, and a resume sends what is missing, and nothing twice.
    """

    def __init__(self, service: Service, folder: Path, say: Callable[[str], None]) -> None:
        self.service, self.folder, self.say = service, folder, say
        self.run = RunState()
        self._identity = ""
        self._since = time.time()
        self._is_live = False
        """Whether this driver's own records have come: those before them are read from the ledger all at once."""
        self._due: dict[str, None] = {}
        """Trials with news, the oldest news first."""
        self._has_begun = self._is_done = self._is_left = False
        self._fails = 0
        """So often in a row it did not work."""
        self._rests_until = self._moved = time.monotonic()
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, name=f"upload to {service.name}", daemon=True)
        self._thread.start()

    def see(self, record: Record, run: RunState) -> None:
        """Hand the record over."""
        self._queue.put(record)

    def close(self, run: RunState) -> None:
        """Wait as long as the service takes things in; say so where it does not have everything."""
        self._moved = time.monotonic()
        self._queue.put(None)
        while self._thread.is_alive() and time.monotonic() - self._moved < PATIENCE:
            self._thread.join(0.1)
        self._is_left = True
        if not self._is_done:
            fix = f"Send it with: python launch.py --resume {self.folder}"
            self.say(f"{self.service.name}: does not have all of the run. {fix}")

    def _follow(self) -> None:
        over = False
        while not over:
            over = self._take()
            if over or (self._is_live and self._due and time.monotonic() >= self._rests_until):
                self._send(over)

    def _take(self) -> bool:
        """Wait for news, or for the end of a rest, and take in all there is; tells whether the driver ends."""
        resting = max(0.0, self._rests_until - time.monotonic()) if self._is_live and self._due else None
        try:
            record = self._queue.get(timeout=resting)
            while record is not None:
                self._apply(record)
                record = self._queue.get_nowait()
        except queue.Empty:
            return False
        return True

    def _apply(self, record: Record) -> None:
        self.run.apply(record)
        self._is_live = self._is_live or record.time >= self._since
        if isinstance(record, Header):
            self._identity = identity(record)
        if isinstance(record, Asked | Tick) or (isinstance(record, Report) and record.decision.target):
            self._due |= dict.fromkeys(trial.id for trial in self.run.everyone())
        elif isinstance(record, Suggested | Repeated | Report | Ended):
            self._due[record.trial] = None

    def _send(self, over: bool) -> None:
        try:
            if not self._has_begun:
                self.service.begin(self.run, self._identity)
                self._has_begun = True
            while self._due:
                name = next(iter(self._due))
                self.service.update(self.run.find(name), self.run)
                del self._due[name]
                self._moved = time.monotonic()
            if over:
                self.service.finish(self.run)
                self._is_done = True
        except Exception as error:
            self._rest(error)
        else:
            if self._fails and not self._is_left:
                self.say(f"{self.service.name}: answers again, and has all that it missed")
            self._fails = 0

    def _rest(self, error: Exception) -> None:
        log.warning("%s", self.service.name, exc_info=error)
        if not self._fails and not self._is_left:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.say(f"{self.service.name}: is left alone for a while, and the run goes on: {reason[:300]}")
        self._rests_until = time.monotonic() + min(LONGEST_REST, FIRST_REST * 2**self._fails)
        self._fails += 1


def identity(header: Header) -> str:
    """Make a short name that no other run has, whatever its folder: from where and when it began."""
    return hashlib.sha256(f"{header.folder} {header.name} {header.time!r}".encode()).hexdigest()[:12]
