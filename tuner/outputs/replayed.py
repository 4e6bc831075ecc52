"""A run beside what it would have been, as a table and as an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tuner.core.course import Course
from tuner.core.state import RunState
from tuner.ledger import read
from tuner.outputs.grid import Column, clean, duration, grid, number, room
from tuner.replay import Curves, WhatIf, what_if
from tuner.spec.alternative import alternative, spelled_out
from tuner.spelled import spelled

COLUMNS = ("as it ran", "the same, replayed", "what if")


def replayed(folder: Path, overrides: Sequence[str]) -> tuple[RunState, WhatIf]:
    """Replay a run under other settings, given as `KEY=VALUE`; raises UserError where that cannot be done."""
    curves = Curves(read(folder))
    return curves.run, what_if(curves, alternative(curves.run.spec, overrides, len(curves.trials)))


def event(run: RunState, overrides: Sequence[str], found: WhatIf) -> dict[str, Any]:
    """Give all of it for a program: what `--json` prints."""
    courses = {"was": found.was, "same": found.same, "what_if": found.other, "worst": found.worst, "best": found.best}
    return {
        "kind": "replayed", "run": run.name, "set": spelled_out(run.spec, overrides),
        "workers": found.workers, "trials": found.trials,
        **{key: spelled(asdict(course)) if course else None for key, course in courses.items()},
    }  # fmt: skip


def show(run: RunState, overrides: Sequence[str], found: WhatIf, console: Console) -> None:
    """Print the table, and what hangs on values that are not recorded."""
    metric, at_once = run.spec.objective.metric, found.workers
    settings = ", ".join(spelled_out(run.spec, overrides))
    head = f"{run.name}: {found.trials} trials, {at_once} at once; what if {settings}"
    courses = zip(COLUMNS, (found.was, found.same, found.other), strict=True)
    shown = [(title, course) for title, course in courses if course is not None]
    cells = [([label, *(tell(course) for _, course in shown)], "") for label, tell in _rows(metric, at_once)]
    columns = [Column("", least=20), *(Column(title, right=True) for title, _ in shown)]
    lines = [Text(clean(head)), Text(""), *grid(columns, cells, room(console))]
    for line in [*lines, *(Text(clean(line)) for line in notes(metric, found))]:
        console.print(line, soft_wrap=not console.is_terminal)


def _rows(metric: str, at_once: int) -> list[tuple[str, Callable[[Course], str]]]:
    return [
        (f"best {metric}", lambda course: "–" if course.value is None else number(course.value)),
        ("  of trial", lambda course: f"{course.trial}, epoch {course.epoch}" if course.trial else "–"),
        ("  its place in the run", lambda course: str(course.rank or "–")),
        ("epochs trained", lambda course: str(course.epochs)),
        ("  in full trainings", lambda course: f"{course.trainings:.1f}"),
        (f"time, {at_once} trials at once", lambda course: duration(course.seconds)),
        ("trials begun", lambda course: str(course.begun)),
        ("  to the last epoch", lambda course: str(course.to_the_end)),
        ("  stopped by the scheduler", lambda course: str(course.stopped)),
        ("its decisions", lambda course: str(course.decisions)),
        ("  on unrecorded epochs", lambda course: str(course.uncertain)),
    ]


def notes(metric: str, found: WhatIf) -> list[str]:
    """Say what is not recorded, and how much it could change."""
    other = found.other
    if not other.carried_epochs:
        return ["", "All that the other settings would have trained is recorded."]
    ends = [f"{_value(course)} after {course.epochs} epochs" for course in (found.worst, found.best)]
    trials = f"{other.carried_trials} trial{'s' if other.carried_trials > 1 else ''}"
    return [
        "",
        f"{other.carried_epochs} of its {other.epochs} epochs are not recorded: {trials} would have gone on longer.",
        "They are taken to keep their last values there, which are never counted as the best.",
        f"If all of them were worse than any that is recorded: {metric} {ends[0]}; if better: {ends[1]}.",
    ]


def _value(course: Course) -> str:
    return "none" if course.value is None else f"{number(course.value)} of {course.trial}"
