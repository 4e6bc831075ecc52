"""The files that sum a run up, written when its driver ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Protocol

from tuner.core.state import RunState
from tuner.outputs import experiment, results

log = logging.getLogger(__name__)


class Store(Protocol):
    """Where checkpoints may lie that are not in the run's folder."""

    def fetch_best(self, run: RunState) -> None:
        """Get the best one into the folder, if it can be had."""
        ...


def finish(
    folder: Path,
    state: str,
    store: Store | None = None,
    say: Callable[[str], None] = lambda text: None,
    patience: float | None = None,
) -> RunState:
    """Write what a run found so far.

    `say` tells the user where that failed in part; `patience` bounds the seconds that the page may take.
    """
    run = results.read_state(folder)
    if store is not None:
        store.fetch_best(run)
    if not (folder / experiment.NAME).exists() or run.changed:
        experiment.write(folder, run.spec, Path(run.folder))
    results.write(folder, run, "stopped" if run.closed == "asked" else state, say)
    # In a thread, since it imports much: a process that has to end may hold a lock of Python's for imports.
    page = Thread(target=_report, args=(folder, say), name="report", daemon=True)
    try:
        page.start()
        page.join(patience)
        is_late = page.is_alive()
    except KeyboardInterrupt:  # nothing else is left to do, so the run ends as it would have ended
        is_late = True
    if is_late:
        say(f"report.html is not waited for; make it with --report {folder}")
    return run


def _report(folder: Path, say: Callable[[str], None]) -> None:
    """Write the page; a run must not fail for it."""
    try:
        from tuner.outputs.page import write

        runs = write.read([folder])
        write.write(runs, write.target(runs))
    except Exception as error:
        log.exception("the report could not be written")
        say(f"report.html could not be written ({type(error).__name__}: {error}); make it with --report {folder}")
