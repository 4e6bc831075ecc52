"""What a user is told at the end of a run: its best trials, and where things lie."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tuner.core.state import RunState
from tuner.outputs import confirmed, disk, grid, report, results


def farewell(folder: Path, run: RunState, console: Console) -> None:
    """Say it."""
    report.leaders(run, console)
    console.print(report.best_line(run))
    for line in confirmed.lines(run, grid.room(console)):
        console.print(line, soft_wrap=not console.is_terminal)
    for name, value in (results.read_test(folder) or {}).items():
        console.print(f"On the test split: {name} {value:.6g}")
    model = folder / "best" / "model.pt"
    if model.exists():
        console.print(f"Best model:   {model}")
    if run.best is not None:
        console.print(f"Best params:  {folder / 'best' / 'params.yaml'}")
    console.print(f"TensorBoard:  tensorboard --logdir {folder / 'tensorboard'}")
    console.print(f"Disk used:    {grid.size(disk.used(folder))}")
