"""What a user is told at the end of a run: its best trials, and where things lie."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rich.console import Console

from tuner.core.state import RunState
from tuner.outputs import best, card, confirmed, disk, front, grid, page, report
from tuner.storage import BEST


def farewell(folder: Path, run: RunState, console: Console) -> None:
    """Say it."""
    report.leaders(run, console)
    for line in front.lines(run, grid.room(console)):
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(report.best_line(run))
    for line in confirmed.lines(run, grid.room(console)):
        console.print(line, soft_wrap=not console.is_terminal)
    for name, value in (best.read_test(folder, run.chosen) or {}).items():
        console.print(f"On the test split: {name} {value:.6g}")
    if run.best is not None:
        for text in _saved_instead(run):
            console.print(text)
        console.print(f"Best model:   {_model(folder)}")
        console.print(f"Best params:  {folder / BEST / best.PARAMS}")
    if (folder / page.NAME).exists():
        console.print(f"Report:       {folder / page.NAME}")
    console.print(f"TensorBoard:  tensorboard --logdir {quote(str(folder / 'tensorboard'))}")
    console.print(f"Disk used:    {grid.size(disk.used(folder))}")


def _saved_instead(run: RunState) -> list[str]:
    """Say whose model is kept where that of the best report was not saved."""
    top, kept = card.better_unsaved(run), run.chosen
    if top is None or kept is None:
        return []
    return [f"In best/ is {kept.trial} at epoch {kept.epoch} ({kept.value:.6g}): that of {top.trial} was not saved"]


def _model(folder: Path) -> str:
    """Say where the best model is, and that there is none where the function tracks none."""
    if not (folder / BEST / best.MANIFEST).exists():
        return "none: its checkpoint cannot be read"
    models = best.models(folder)
    if not models and (own := card.carried(folder)):
        return f"{own}, the checkpoint that the function reported"
    if not models:
        return "none: the trainable tracks no model; trial.track(model=...) has it kept"
    return f"{', '.join(map(str, models))}; tuner.load_best({str(folder)!r}) gives it ready to use"
