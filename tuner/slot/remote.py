"""A trial's files at its run's URL: fetched before the trial begins, put before its report goes to the driver.

That happens in a thread, one thing after the other, so that the slot answers meanwhile; what fails is tried again until
it works. Where the run's own folder is, a trial works in it; on any other machine in a folder of this slot's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import TunerError
from tuner.slot.process import Event
from tuner.storage import delete_folder
from tuner.storage.machine import scratch, this_machine
from tuner.trial import Assignment

if TYPE_CHECKING:
    from tuner.slot.stint_files import StintFiles

LONGEST_WAIT = 5.0
"""Seconds between two tries."""
MISSING_TRIES = 3
"""So often a checkpoint that is not there is looked for."""
LEAVE_SECONDS = 5.0
"""How long the last files may take when the slot ends."""

Done = Future[Event | None]


class Remote:
    """The files of a slot's trials at their run's URL; it has nothing to do where a run is stored in a folder."""

    def __init__(self) -> None:
        self.problem = ""
        """Why something has to wait."""
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Event | None], Done]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._scratch: Path | None = None
        self._stints = 0
        self._over = threading.Event()
        """The present stint is over, so nothing is tried again."""
        self._files: StintFiles | None = None
        self._fetch: Done | None = None
        self._put: Done | None = None

    def begin(self, assignment: Assignment) -> Assignment:
        """Begin to fetch what an assignment needs; returns it with the folder in which it works here."""
        if not assignment.storage:
            return assignment
        from tuner.slot.stint_files import StintFiles

        # A folder of that name on another machine is not the run's, though it be there.
        is_apart = assignment.machine != this_machine() or not Path(assignment.run).is_dir()
        if is_apart:
            assignment = replace(assignment, run=str(self._folder()))
        self._files, self._over = StintFiles(assignment, is_apart), threading.Event()
        self._fetch = self._try_on(self._files.fetch)
        return assignment

    def fetched(self, seconds: float) -> bool:
        """Wait some seconds; tell whether all that the assignment needs is here, or cannot be had."""
        return self._fetch is None or _is_done(self._fetch, seconds)

    def failure(self) -> Event | None:
        """Tell why it cannot be had."""
        return self._fetch.result() if self._fetch is not None else None

    def takes(self, event: Event) -> bool:
        """Begin to put what a report names; False where there is nothing to put."""
        files = self._files
        if files is None or event["event"] != "report" or not event["checkpoint"]:
            return False
        self._put = self._try_on(lambda: files.put(event), event)
        return True

    @property
    def is_putting(self) -> bool:
        """Tell whether a report waits for what it names."""
        return self._put is not None

    def released(self, seconds: float) -> Event | None:
        """Wait some seconds; returns the report whose checkpoint is there now, or what went wrong for good."""
        if self._put is None or not _is_done(self._put, seconds):
            return None
        done, self._put = self._put, None
        return done.result()

    def leave(self) -> None:
        """Take leave of a trial whose process is gone: its last files are put, if that works at once."""
        files, self._files, self._fetch, self._put, self.problem = self._files, None, None, None, ""
        if files is not None:
            self._over.set()
            self._do(lambda: _leave(files))

    def close(self) -> None:
        """Take leave of all."""
        self.leave()
        if self._thread is not None:
            _is_done(self._do(lambda: None), LEAVE_SECONDS)
        if self._scratch is not None:
            delete_folder(self._scratch)

    def _folder(self) -> Path:
        """Make a folder for one stint: what the last one left is being put still."""
        if self._scratch is None:
            self._scratch = scratch("scratch-")
        self._stints += 1
        return self._scratch / str(self._stints)

    def _do(self, job: Callable[[], Event | None]) -> Done:
        """Have the thread do something after all that it has to do."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="remote", daemon=True)
            self._thread.start()
        done = Done()
        self._jobs.put((job, done))
        return done

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            try:
                done.set_result(job())
            except BaseException as error:
                done.set_exception(error)

    def _try_on(self, job: Callable[[], None], result: Event | None = None) -> Done:
        over = self._over
        return self._do(lambda: self._patiently(job, result, over))

    def _patiently(self, job: Callable[[], None], result: Event | None, over: threading.Event) -> Event | None:
        """Try until it works; returns the result then, or an event that says why it never will."""
        seconds, missing = 1.0, 0
        while not over.is_set():
            try:
                job()
                self.problem = ""
                return result
            except TunerError as error:
                return _lost(str(error))
            except OSError as error:
                missing += _is_missing(error)
                if missing >= MISSING_TRIES:
                    return _lost(str(error))
                self.problem = str(error)
            over.wait(seconds)
            seconds = min(2 * seconds, LONGEST_WAIT)
        return None


def _is_missing(error: OSError) -> bool:
    """Tell whether a checkpoint is not there; any other file that is not found is the URL's or the user's affair."""
    from tuner.storage.transfer import NotWhole

    return isinstance(error, NotWhole)


def _lost(reason: str) -> Event:
    return {"event": "lost", "reason": reason, "cause": "worker"}


def _leave(files: StintFiles) -> None:
    try:
        files.put_files()
    finally:
        if files.is_apart:
            delete_folder(Path(files.assignment.run))


def _is_done(done: Done, seconds: float) -> bool:
    return bool(wait([done], max(0.0, seconds)).done)
