"""The files that sum a run up, written when its driver ends."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tuner.core.state import RunState
from tuner.outputs import experiment, results


class Store(Protocol):
    """Where checkpoints may lie that are not in the run's folder."""

    def fetch_best(self, run: RunState) -> None:
        """Get the best one into the folder, if it can be had."""
        ...


def finish(folder: Path, state: str, store: Store | None = None) -> RunState:
    """Write what a run found so far."""
    run = results.read_state(folder)
    if store is not None:
        store.fetch_best(run)
    if not (folder / experiment.NAME).exists() or run.changed:
        experiment.write(folder, run.spec, Path(run.folder))
    results.write(folder, run, "stopped" if run.closed == "asked" else state)
    return run
