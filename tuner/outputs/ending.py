"""What is left of a run at its end: the files that sum it up, and what its user reads last."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rich.console import Console

from tuner.core.state import RunState
from tuner.outputs import disk, experiment, grid, report, results


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


def farewell(folder: Path, run: RunState, console: Console) -> None:
    """Say what the run found, and where that lies."""
    report.leaders(run, console)
    console.print(report.best_line(run))
    for name, value in (results.read_test(folder) or {}).items():
        console.print(f"On the test split: {name} {value:.6g}")
    model = folder / "best" / "model.pt"
    if model.exists():
        console.print(f"Best model:   {model}")
    if run.best is not None:
        console.print(f"Best params:  {folder / 'best' / 'params.yaml'}")
    console.print(f"TensorBoard:  tensorboard --logdir {folder / 'tensorboard'}")
    console.print(f"Disk used:    {grid.size(disk.used(folder))}")
