"""Keeps a service up to date with the ledger, in a thread of its own: a server that is slow or gone holds up nobody."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tuner.called import resuming
from tuner.core.records import Asked, Ended, Header, Record, Repeated, Report, Suggested, Tick
from tuner.core.state import RunState
from tuner.core.trial import TrialState

FIRST_REST, LONGEST_REST = 30.0, 600.0
"""Seconds for which a service that failed is left alone: at first, and at most."""
IN_A_ROW = 3
"""So many trials that fail one after the other tell that it is the service; at the end of a run all are tried."""
MOST_NAMES = 5
Failure = tuple[Exception, str]
"""What went wrong, and with which trial; empty where it was with none."""

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that runs are sent to. Each call may fail by any exception, and is then made again later."""

    name: str
    """How users call it."""
    patience: float
    """Seconds without progress after which the end of a run waits no longer; longer than each step may take."""

    def begin(self, run: RunState, identity: str) -> None:
        """Connect, and look up what is there of this run; `identity` tells it from all other runs."""
        ...

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        """Bring what is there of a trial to where the trial stands, step by step."""
        ...

    def finish(self, run: RunState) -> Iterator[None]:
        """Mark the best, and say how the run stands, at the end of its driver, step by step."""
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
        self._failed: dict[str, None] = {}
        """Trials that could not be sent, which are tried again after a rest, behind those with news."""
        self._has_begun = self._is_done = self._is_left = False
        self._is_away = False
        """Whether nothing could be sent, so that news wait for the end of the rest too."""
        self._fails = 0
        """So often in a row something did not work."""
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
        while self._thread.is_alive() and time.monotonic() - self._moved < self.service.patience:
            self._thread.join(0.1)
        self._is_left = True
        if not self._is_done:
            fix = f"Send it with: {resuming(self.folder)}"
            self.say(f"{self.service.name}: does not have all of the run{self._missing()}. {fix}")

    def _missing(self) -> str:
        """Name the trials that are missing."""
        names = sorted({*list(self._due), *list(self._failed)})
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return f": {', '.join(names[:MOST_NAMES])}{more} {'is' if len(names) == 1 else 'are'} missing" if names else ""

    def _follow(self) -> None:
        over = False
        while not over:
            over = self._take()
            if over or (self._is_live and self._is_time()):
                self._send(over)

    def _is_time(self) -> bool:
        """Tell whether there is something to send: news, or what failed and has rested."""
        has_rested = time.monotonic() >= self._rests_until
        return bool(self._due and (has_rested or not self._is_away)) or bool(self._failed and has_rested)

    def _take(self) -> bool:
        """Wait for news, or for the end of a rest, and take in all there is; tells whether the driver ends."""
        is_waiting = self._is_live and (self._due or self._failed)
        resting = max(0.0, self._rests_until - time.monotonic()) if is_waiting else None
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
            self._note(trial.id for trial in self.run.everyone())
        elif isinstance(record, Suggested | Repeated | Report | Ended):
            self._note([record.trial])

    def _note(self, trials: Iterable[str]) -> None:
        self._due |= dict.fromkeys(name for name in trials if name not in self._failed)

    def _send(self, over: bool) -> None:
        bad: set[str] = set()
        if over or time.monotonic() >= self._rests_until:
            bad = set(self._failed)
            self._due |= self._failed
            self._failed = {}
        failure = self._bring(bad, over)
        if failure is not None:
            self._rest(*failure)
        elif not self._failed:
            if self._fails and not self._is_left:
                self.say(f"{self.service.name}: answers again, and has all that it missed")
            self._fails = 0

    def _bring(self, bad: set[str], over: bool) -> Failure | None:
        """Send what there is, and at the end of a run all; returns the first failure."""
        failure = None
        if not self._identity:  # the driver ends before it has begun
            self._is_done = True
            return None
        try:
            if not self._has_begun:
                self.service.begin(self.run, self._identity)
                self._has_begun = True
            failure = self._update_all(bad, over)
            if over:
                self._pass(self.service.finish(self.run))
                self._is_done = failure is None
        except Exception as error:
            self._is_away = self._is_away or failure is None
            failure = failure or (error, "")
        return failure

    def _update_all(self, bad: set[str], over: bool) -> Failure | None:
        """Send the trials that are due, and put aside those that fail; `bad` have failed before."""
        failure: Failure | None = None
        sent = in_a_row = 0
        while self._due and (over or in_a_row < IN_A_ROW):
            name = next(iter(self._due))
            try:
                self._pass(self.service.update(self.run.find(name), self.run))
                sent, in_a_row = sent + 1, 0
            except Exception as error:
                self._failed[name] = None
                in_a_row += name not in bad
                failure = failure or (error, name)
            del self._due[name]
        self._is_away = in_a_row >= IN_A_ROW or (not sent and (self._is_away or in_a_row > 0))
        return failure

    def _pass(self, steps: Iterator[None]) -> None:
        for _ in steps:
            self._moved = time.monotonic()

    def _rest(self, error: Exception, trial: str) -> None:
        log.warning("%s", self.service.name, exc_info=error)
        if not self._fails and not self._is_left:
            what = "is left alone for a while, and the run goes on" if self._is_away else f"cannot take {trial}"
            reason = " ".join(str(error).split()) or type(error).__name__
            self.say(f"{self.service.name}: {what}: {reason[:300]}")
        self._rests_until = time.monotonic() + min(LONGEST_REST, FIRST_REST * 2**self._fails)
        self._fails += 1


def identity(header: Header) -> str:
    """Make a short name that no other run has, whatever its folder: from where and when it began."""
    return hashlib.sha256(f"{header.folder} {header.name} {header.time!r}".encode()).hexdigest()[:12]
