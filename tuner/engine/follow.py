"""Observers follow the ledger in a thread of their own, so that no projection holds up a decision."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from tuner.core.records import Record
from tuner.core.state import RunState
from tuner.slot.imports import uncollected

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Sees every record of the run from the first on, also on a resume: what it makes can always be made again."""

    def see(self, record: Record, run: RunState) -> None:
        """Take in a record; `run` has it applied already."""
        ...

    def close(self, run: RunState) -> None:
        """The driver ends."""
        ...


class Followers:
    """The thread, and the state that it keeps for its observers.

    The thread makes the observers too, and does the imports that this takes, while the main thread starts Ray.
    """

    def __init__(self, make_observers: Callable[[], Sequence[Observer]]) -> None:
        self.run = RunState()
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._made: Future[list[Observer]] = Future()
        self._thread = threading.Thread(target=self._follow, args=(make_observers,), name="followers", daemon=True)
        self._thread.start()

    def wait_until_made(self) -> None:
        """Wait until the thread imports nothing any more; raises what went wrong."""
        self._made.result()

    def put(self, record: Record) -> None:
        """Hand over a record and return at once."""
        self._queue.put(record)

    def __enter__(self) -> Followers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait until all is seen, then close the observers."""
        self._queue.put(None)
        self._thread.join()

    def _follow(self, make_observers: Callable[[], Sequence[Observer]]) -> None:
        try:
            with uncollected():
                observers = list(make_observers())
        except BaseException as error:
            self._made.set_exception(error)
            return
        self._made.set_result(observers)
        while (record := self._queue.get()) is not None:
            self.run.apply(record)
            for observer in list(observers):
                try:
                    observer.see(record, self.run)
                except Exception:
                    # The run matters more than a picture of it, which can be made again from the ledger.
                    log.exception("%s fails and is left out from here on", type(observer).__name__)
                    observers.remove(observer)
        for observer in observers:
            try:
                observer.close(self.run)
            except Exception:
                log.exception("%s fails at its end", type(observer).__name__)
