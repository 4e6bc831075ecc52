"""What a user sees of a live run: a table that renews itself, or a plain line each few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tuner.core.records import Ended, Record, Report, Session
from tuner.core.state import RunState
from tuner.outputs.results import Row, leaderboard

PLAIN_SECONDS = 3.0
ROWS = 12
STYLES = {"running": "bold", "finished": "green", "diverged": "red", "failed": "red", "lost": "red", "stopped": "dim"}


class Show:
    """Shows a run while it goes; may be told what is being done before there is anything to show."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.phase = ""
        self.run: RunState | None = None
        self._began = time.monotonic()
        self._session_trials = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._thread = threading.Thread(target=self._lines, name="show", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self.console.is_terminal:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""
        self._done.set()
        if self.console.is_terminal:
            self._live.stop()
        else:
            self._thread.join()

    def say(self, text: str, lasting: bool = True) -> None:
        """Say what is being done from here on; a lasting line stays on the screen."""
        self.phase = text
        if lasting or not self.console.is_terminal:
            self.console.print(text)

    def see(self, record: Record, run: RunState) -> None:
        """Take in a record."""
        with self._lock:
            self.run = run
            if isinstance(record, Session):
                self._session_trials, self._began = _ended(run), time.monotonic()
                self.phase = "waiting for the first report"
            elif isinstance(record, Report):
                self.phase = ""
            elif isinstance(record, Ended) and record.outcome == "failed":
                self.console.print(f"{record.trial} failed: {record.reason} (see trials/{record.trial}/log.txt)")

    def close(self, run: RunState) -> None:
        """Show on: there is still the end to tell of."""

    def _lines(self) -> None:
        while not self._done.wait(PLAIN_SECONDS):
            with self._lock:
                self.console.print(self._status())

    def _render(self) -> RenderableType:
        with self._lock:
            parts: list[RenderableType] = [Text(self._status())]
            if self.run is not None and self.run.trials:
                parts.append(table(self.run, _pick(self.run), ROWS))
            return Group(*parts)

    def _status(self) -> str:
        run, clock = self.run, timedelta(seconds=int(time.monotonic() - self._began))
        if run is None or not any(trial.reports for trial in run.trials.values()):
            return f"[{clock}] {self.phase or 'waiting'} …"
        left = self._left(run)
        epochs = sum(len(trial.reports) for trial in run.trials.values())
        parts = [f"[{clock}] {_ended(run)} of {run.spec.trials} trials, {epochs} epochs"]
        if run.best is not None:
            parts.append(f"best {run.spec.objective.metric} {run.best.value:.5g} ({run.best.trial}, epoch {run.best.epoch})")
        if left is not None:
            parts.append(f"about {timedelta(seconds=int(left))} left")
        if not self.console.is_terminal:
            parts.append("running " + ", ".join(f"{t.id} epoch {t.epoch + 1}" for t in run.having("running")))
        return "; ".join(parts)

    def _left(self, run: RunState) -> float | None:
        """Guess the seconds left from the trials that ended in this session."""
        ended = _ended(run) - self._session_trials
        if ended == 0:
            return None
        each = (time.monotonic() - self._began) / ended
        left = each * (run.spec.trials - _ended(run))
        hours = run.spec.budget.hours
        return left if hours is None else min(left, max(0.0, hours * 3600 - run.elapsed))


def table(run: RunState, rows: Iterable[Row], most: int | None = None) -> Table:
    """Draw rows of the leaderboard."""
    metric = run.spec.objective.metric
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    drawn.add_column("trial", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    drawn.add_column("epoch", justify="right", no_wrap=True)
    for name in (metric, f"best {metric}", "at epoch"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("params", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in list(rows)[:most]:
        trial = run.trials[row.trial]
        now = _number(run.objective(trial.reports[-1])) if trial.reports else ""
        best, at = ("", "") if row.value is None else (_number(row.value), str(row.epoch))
        style = STYLES.get(row.state, "")
        drawn.add_row(row.trial, row.state, str(trial.epoch), now, best, at, params_text(row.params), style=style)
    return drawn


def params_text(params: dict[str, Any]) -> str:
    """Write params in one line."""
    return "  ".join(f"{name}={_number(value)}" for name, value in params.items())


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _pick(run: RunState) -> list[Row]:
    """Choose the running trials and, below them, the best of the others."""
    rows = leaderboard(run)
    running = sorted((row for row in rows if row.state == "running"), key=lambda row: row.trial)
    return running + [row for row in rows if row.state != "running"]


def _ended(run: RunState) -> int:
    return sum(trial.status == "ended" for trial in run.trials.values())
