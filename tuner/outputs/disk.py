"""What a run needs on the disk: told after the first checkpoint, and watched from then on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tuner.core.records import Record, Report
from tuner.core.state import RunState
from tuner.outputs.grid import size

EVERY = 20
"""Checkpoints between two looks at what is free."""


class Disk:
    """Tells what the run will need, and warns when that is more than there is."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self._one = 0
        """The size of a checkpoint, bytes."""
        self._saved = 0
        self._warned = False

    def see(self, record: Record, run: RunState) -> None:
        """Look at the first checkpoint, then at every twentieth."""
        if not isinstance(record, Report) or not record.checkpoint or run.closed:
            return
        self._saved += 1
        path = self.folder / record.checkpoint
        if not self._one and path.is_dir():
            self._one = used(path)
            self.say(f"a checkpoint takes {size(self._one)}; the run keeps {size(self._need(run))} of them at most")
        if self._one and self._saved % EVERY == 1:
            self._look(run)

    def close(self, run: RunState) -> None:
        """Nothing is left open."""

    def _need(self, run: RunState) -> int:
        """Bound what the checkpoints take: one of each trial, `keep` of those that run, one that is being written.

        And two of each repeat: its last and its best; and with several objectives the front, as it is now.
        """
        live, confirm = min(run.slots, run.spec.most_at_once), run.spec.confirm
        repeats = confirm.top * confirm.seeds if confirm else 0
        return self._one * (run.spec.trials + 2 * repeats + live * run.spec.checkpoint.keep + len(run.front_saved) + 1)

    def _look(self, run: RunState) -> None:
        need, free = self._need(run), shutil.disk_usage(self.folder).free
        if self._warned or need <= free:
            return  # as a rule: no walk over all files
        left = need - used(self.folder / "trials")
        if left > free:
            self._warned = True
            self.say(f"the disk may become too small: {size(free)} are free, and the run may need {size(left)} more")


def used(folder: Path) -> int:
    """Add up the sizes of all files below a folder, in bytes; what is deleted meanwhile counts as nothing."""
    total = 0
    for path in files_below(folder):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files; `Path.rglob` raises where a folder is deleted meanwhile."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
