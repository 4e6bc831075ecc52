"""A run as text: the leaderboard, and each trial's learning curve."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from tuner.core.state import RunState
from tuner.outputs.live import params_text, table
from tuner.outputs.results import leaderboard, summary

BARS = "▁▂▃▄▅▆▇█"


def leaders(run: RunState, console: Console, most: int = 10) -> None:
    """Print the best trials."""
    rows = leaderboard(run)
    console.print(table(run, rows, most))
    if len(rows) > most:
        console.print(f"… and {len(rows) - most} more")


def report(run: RunState, console: Console) -> None:
    """Print what a run found, and its curves."""
    facts = summary(run, "")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in facts["trials"].items())
    console.print(f"{run.name}: {len(run.trials)} trials ({counted}), {facts['epochs']} epochs in {run.elapsed:.0f} s")
    leaders(run, console)
    console.print()
    console.print(curves(run))


def curves(run: RunState) -> Table:
    """Draw one line for each trial, its values scaled to those of all trials."""
    metric = run.spec.objective.metric
    values = [v for t in run.trials.values() for r in t.reports if math.isfinite(v := run.objective(r))]
    drawn = Table(box=None, pad_edge=False, header_style="dim", title=f"{metric} by epoch", title_justify="left")
    for name in ("trial", "curve", "why it ended"):
        drawn.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in leaderboard(run):
        points = [run.objective(report) for report in run.trials[row.trial].reports]
        drawn.add_row(row.trial, sparkline(points, min(values, default=0), max(values, default=1)), row.reason)
    return drawn


def sparkline(values: list[float], low: float, high: float) -> str:
    """Draw values as bars between two bounds; what is not finite is a cross."""
    span = (high - low) or 1.0
    return "".join(
        BARS[min(int((value - low) / span * len(BARS)), len(BARS) - 1)] if math.isfinite(value) else "×"
        for value in values
    )


def best_line(run: RunState) -> str:
    """Say what the best is."""
    if run.best is None:
        return "No trial reported a finite value."
    best = run.best
    text = f"Best {run.spec.objective.metric} {best.value:.6g}: {best.trial} at epoch {best.epoch}"
    return f"{text}  ({params_text(best.params)})"
