"""Stops by hand: a trial that runs is let come to its next report, which is saved, and after some seconds killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.core.events import StopAsked
from tuner.core.state import RunState
from tuner.engine import wishes
from tuner.trial.stopping import MARK

GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.5


class Stops:
    """Which stops are under way."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.tell: Callable[[str | None], None] = lambda trial: None
        """Reaches the workers of trials that do not see this folder: one trial's, or all."""
        self.all = False
        """The whole run is being stopped."""
        self._due = 0.0
        self._trials: dict[str, float] = {}
        """Trials that are being stopped, and when they are killed."""
        self._looked = 0.0
        wishes.prepare(folder)
        self.close()

    def look(self) -> bool:
        """Look at what the user asks for; False where that was done a moment ago."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return False
        self._looked = now
        for trial in wishes.take(self.folder):
            if trial is None:
                self.stop_all()
            else:
                self._trials[trial] = now + GRACE_SECONDS
                self.save(trial)
        return True

    def save(self, trial: str) -> None:
        """Have a trial save its next report, whatever `checkpoint.every` says."""
        self._mark(self.folder / "trials" / trial)
        self.tell(trial)

    def stop_all(self) -> None:
        """Begin to stop the whole run."""
        if not self.all:
            self.all, self._due = True, time.monotonic() + GRACE_SECONDS
            self._mark(self.folder)
            self.tell(None)
            self.say(f"stopping: running epochs may end within {GRACE_SECONDS:g} s; Ctrl-C stops at once")

    def due(self) -> bool:
        """Tell whether what still runs has had its time."""
        return time.monotonic() > self._due

    def after_report(self, name: str) -> StopAsked | None:
        """Make the event of a trial's stop, if that was asked for: it has reported."""
        return StopAsked(trial=name) if self._trials.pop(name, None) is not None else None

    def ready(self, run: RunState, working: set[str]) -> Iterator[StopAsked]:
        """Yield the stops of trials that do not run, or have had their time."""
        now = time.monotonic()
        for name in [name for name, due in self._trials.items() if name not in working or now > due]:
            del self._trials[name]
            if run.knows(name):
                yield StopAsked(trial=name)

    def close(self) -> None:
        """Take away the mark of a stop of the whole run; those of trials go when they begin again."""
        with contextlib.suppress(OSError):
            (self.folder / MARK).unlink(missing_ok=True)

    def _mark(self, folder: Path) -> None:
        """Leave a mark that a reporting trial sees; where there is no room for it, it is stopped without."""
        if folder.is_dir():
            with contextlib.suppress(OSError):
                (folder / MARK).touch()
