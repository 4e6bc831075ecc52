"""The way out where the main thread has none: it hangs in a call of Ray's, or must not be interrupted where it is.

Where its head is dead, Ray waits a minute and then ends the process without a word; where its only node is dead it
waits for ever. And an exception out of a signal's handler may meet any line of what Ray imports and starts: it gets
lost there, or leaves a lock locked for ever. So another thread says what there is to say, and ends the process.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tuner.engine import cluster as clusters
from tuner.engine import own
from tuner.errors import ClusterError, TunerError

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long the head of somebody else's cluster may not answer: it may be begun again. Ray gives it 60."""


class WayOut:
    """Ends the process when it is asked to, or when Ray is dead. Without a farewell it does nothing: see `leave`."""

    def __init__(self, logs: Path, farewell: Callable[[TunerError], None] | None) -> None:
        self._logs, self._farewell = logs, farewell
        self._asked: queue.SimpleQueue[TunerError | None] = queue.SimpleQueue()
        self._cluster: clusters.Cluster | None = None
        self._address = ""
        self._answered = 0.0
        self._looks = threading.Lock()
        self._thread = threading.Thread(target=self._wait, name="way out", daemon=True)

    def __enter__(self) -> WayOut:
        if self._farewell is not None:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._farewell is not None:
            self._asked.put(None)
            self._thread.join()

    def leave(self, error: TunerError) -> bool:
        """End the process with the error's exit code; False where that is not ours to do. Fit for signal handlers."""
        if self._farewell is None:
            return False
        self._asked.put(error)
        return True

    def watch(self, cluster: clusters.Cluster, address: str | None) -> None:
        """Leave too when this cluster is dead."""
        self._answered = time.monotonic()
        self._address, self._cluster = address or "", cluster

    def rest(self) -> None:
        """Watch no more: Ray is about to be ended in order."""
        with self._looks:
            self._cluster = None

    def _wait(self) -> None:
        while True:
            try:
                error = self._asked.get(timeout=LOOK_SECONDS)
                if error is None:
                    return
            except queue.Empty:
                with self._looks:
                    error = self._dead()
            if error is not None:
                self._go(error)

    def _go(self, error: TunerError) -> None:
        assert self._farewell is not None
        with contextlib.suppress(Exception):
            self._farewell(error)
        own.abandon(self._logs, error.exit_code)

    def _dead(self) -> ClusterError | None:
        if self._cluster is None:
            return None
        if self._cluster.local:
            names = own.dead()
            return ClusterError(f"Ray's {names[0]} has died, and the run cannot go on without it.") if names else None
        try:
            clusters.knock(self._address)
        except OSError:
            if time.monotonic() < self._answered + PATIENCE_SECONDS:
                return None
            return ClusterError(f"the Ray cluster at {self._address} answers no more.")
        self._answered = time.monotonic()
        return None
