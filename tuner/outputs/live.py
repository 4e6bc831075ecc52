"""What a user sees of a live run: a table that renews itself, or a plain line each few seconds."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from tuner.core import epochs
from tuner.core.records import Disk, Ended, Lost, Machines, Promoted, Record, Report, Session
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.outputs.confirmed import progress
from tuner.outputs.forecast import Forecast, share_done
from tuner.outputs.grid import Column, clean, cut, cut_front, duration, grid, number, params_text, size

PLAIN_SECONDS = 3.0
TABLE_LINES = 20
"""After so many plain lines comes the whole table: in the log of a job, say."""
WAITS = "waiting for the first report"
MOST_ROWS = 20
LEAST_BAR = 6
"""Columns that a bar needs to tell anything."""
STYLES = {"running": "cyan", "paused": "yellow", "finished": "green", "stopped": "dim"}
"""All other states are failures."""
QUEUED = {**dict.fromkeys(("worker", "machine"), " lost its worker and is queued again"), "foresight": ""}
"""What a trial comes to that is `lost`, by the cause, where it is more or less than to be queued again."""
BAD = ("failed", "infeasible", "lost", "stalled")

log = logging.getLogger(__name__)


class Show:
    """Shows a run while it goes; may be told what is being done before there is anything to show."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.drawn = console.is_terminal and not console.is_dumb_terminal
        """Whether the screen can be drawn anew."""
        self.phase = ""
        """What is being done, where it is not training."""
        self.news = ""
        self.run: RunState | None = None
        self.forecast = Forecast()
        self._clock, self._since = time.monotonic(), time.time()
        self._done = threading.Event()
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True,
            redirect_stdout=False, redirect_stderr=False,  # else what Ray prints would be moved to the terminal
        )  # fmt: skip
        self._thread = threading.Thread(target=self._lines, name="show", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self.drawn:
            self._live.start()
        else:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""
        self._done.set()
        if self.drawn:
            self._live.stop()
        else:
            self._thread.join()

    def say(self, text: str, lasting: bool = True) -> None:
        """Print a line that stays; or, if not lasting, what is being done from here on."""
        if not lasting:
            self.phase = text
        if lasting or not self.drawn:
            self.console.print(Text(text))

    def see(self, record: Record, run: RunState) -> None:
        """Take in a record; those of earlier sessions are no news."""
        self.run = run
        if record.time < self._since:
            return
        if isinstance(record, Session):
            self.forecast.begin(run)
            self.phase = WAITS if record.slots else "waiting for machines"
        elif isinstance(record, Report):
            self.forecast.heard(record)
            self.phase = ""
        elif isinstance(record, Disk):
            self._tell_of(record)
        elif isinstance(record, Machines):
            machines = f"{record.machines} machine{'s' if record.machines != 1 else ''}"
            self.say(f"{machines} from now on: {record.slots} trials at once")
            self.phase = WAITS if self.phase else ""
        self.news = news(record, run) or self.news
        if isinstance(record, Ended) and is_bad(run.find(record.trial)):
            self.console.print(Text(f"{self.news} (see trials/{record.trial}/log.txt)", style="red"))

    def _tell_of(self, record: Disk) -> None:
        what = "is full: no trial is begun until there is room" if record.full else "has room again: the run goes on"
        text = f"the disk of the run's folder {what} ({size(record.free)} free)"
        self.console.print(Text(text, style="red" if record.full else "green"))

    def close(self, run: RunState) -> None:
        """Show on: there is still the end to tell of."""

    def _lines(self) -> None:
        lines = 0
        while not self._done.wait(PLAIN_SECONDS):
            lines += 1
            try:
                self.console.print(Text(self.status()))
                if lines % TABLE_LINES == 0:
                    self.console.print(self._render(1))
            except OSError:
                return  # Nobody can read any more; the trials go on.
            except Exception:
                log.exception("a line is left out")  # as in _render

    def _render(self, first: int = 0) -> RenderableType:
        """Draw the picture from some line on."""
        try:
            return Group(*self.picture()[first:])
        except Exception:
            # The run is being changed by another thread; the next picture is due in a moment.
            log.exception("the table is left out once")
            return Text(self.phase)

    def picture(self) -> list[Text]:
        """Draw all that the terminal has room for."""
        width, run = self.console.width, self.run
        lines = [Text(cut(self.status(), width), style="bold")]
        if run is None or not run.trials:
            return lines
        if self._is_training(run):
            lines.append(self._bar(run, width))
        if run.best is not None:
            best, params = clean(_best(run)), clean(params_text(run.best.params))
            fits = cell_len(best) + 2 + cell_len(params) <= width
            lines += [
                Text(cut(text, width), style="green") for text in ([f"{best}  {params}"] if fits else [best, params])
            ]
        rows = max(3, min(MOST_ROWS, self.console.height - 10))
        lines += [Text(), *self.table(run, rows, width)]
        last = Text(cut(f"last: {self.news}", width), style="dim")
        return [*lines, Text(), last] if self.news else lines

    def table(self, run: RunState, most: int, width: int) -> list[Text]:
        """Draw the running trials and, below them, the best of the others."""
        trials = list(run.everyone())
        running = [trial for trial in trials if trial.status == "running"]
        others = [trial for trial in trials if trial.status != "running"]
        others.sort(key=lambda trial: trial.standing, reverse=True)
        first = running[-max(most - len(others), 2 * most // 3) :]
        picked = first + others[: most - len(first)]
        title = cut_front(run.spec.objective.metric, max(8, width // 6))
        columns = [
            Column("trial"), Column("state", drop=1), Column("epoch", right=True, drop=2), Column(title, right=True),
            Column("best", right=True, drop=3), Column("at epoch", right=True, drop=4),
            Column("params", drop=5, least=12),
        ]  # fmt: skip
        lines = grid(columns, [self._row(trial, run) for trial in picked], width)
        left_out = len(trials) - len(picked)
        return [*lines, Text(cut(f"… and {left_out} more", width), style="dim")] if left_out else lines

    def _row(self, trial: TrialState, run: RunState) -> tuple[list[str], str]:
        state = trial.outcome or trial.status
        now = number(run.objective(trial.reports[-1])) if trial.reports else ""
        best = ["", ""] if trial.best is None else [number(run.objective(trial.best)), str(trial.best.epoch)]
        so_far = f"{trial.epoch}/{run.spec.budget.epochs}"
        style = STYLES.get(state, "red")
        is_best = run.best is not None and run.best.trial == trial.id
        return [trial.id, state, so_far, now, *best, params_text(trial.params)], f"bold {style}" if is_best else style

    def status(self) -> str:
        """Say in a line what is going on; on a screen as much of it as there is room for."""
        run, clock = self.run, f"[{duration(time.monotonic() - self._clock)}]"
        if run is None or not self._is_training(run):
            return f"{clock} {self.phase or 'waiting'} …"
        trials = list(run.everyone())
        rate = self.forecast.rate(run)
        over = sum(trial.status == "ended" for trial in trials if not trial.of)
        parts = [f"{clock} {over} of {run.spec.trials} trials, {epochs.of_run(run)} epochs"]
        if confirming := progress(run):
            parts.append(confirming)
        if bad := sum(is_bad(trial) for trial in trials):
            parts.append(f"{bad} failed")
        if rate is not None and not run.finished():
            parts.append(f"{rate:,.0f} epochs a minute" if rate >= 10 else f"{rate:.2g} epochs a minute")
        if self.drawn:
            while len(parts) > 1 and len("; ".join(parts)) > self.console.width:
                parts.pop()
            return "; ".join(parts)
        if run.best is not None:
            parts.append(_best(run))
        parts += [self._left(run), _running([trial for trial in trials if trial.status == "running"])]
        return "; ".join(part for part in parts if part)

    def _is_training(self, run: RunState) -> bool:
        return not self.phase and any(trial.reports for trial in list(run.trials.values()))

    def _left(self, run: RunState) -> str:
        left = self.forecast.left(run)
        ending = "finishing" if run.finished() else "" if left is None else f"about {duration(max(1, left))} left"
        return ", ".join(part for part in (f"{math.floor(100 * share_done(run))} %", ending) if part)

    def _bar(self, run: RunState, width: int) -> Text:
        words = self._left(run)
        if (room := width - len(words) - 2) < LEAST_BAR:
            return Text(cut(words, width))
        bar = self.console.render(ProgressBar(total=1, completed=share_done(run), width=room))
        line = Text.assemble(*((part.text, part.style or "") for part in bar), no_wrap=True)
        line.pad_right(max(0, room - line.cell_len))
        return line.append(f"  {words}")


def is_bad(trial: TrialState) -> bool:
    """Tell whether a trial came to nothing: one that was trained, and breaks a constraint, did not."""
    return trial.outcome in BAD and not trial.breaks


def news(record: Record, run: RunState) -> str:
    """Say in a line what a record changed; nothing for records that change nothing that users look at."""
    if isinstance(record, Ended):
        epoch = run.find(record.trial).epoch
        where = f"after epoch {epoch}" if epoch else "before its first report"
        return clean(f"{record.trial} {record.outcome} {where}: {_first_line(record.reason)}")
    if isinstance(record, Lost):
        return clean(f"{record.trial}{QUEUED.get(record.cause, ' is queued again')}: {_first_line(record.reason)}")
    if isinstance(record, Promoted):
        return f"{record.trial} {record.reason}"
    if not isinstance(record, Report):
        return ""
    decision, value = record.decision, number(run.objective(record))
    if decision.outcome is not None:
        return clean(f"{record.trial} {decision.outcome} at epoch {record.epoch}: {_first_line(decision.reason)}")
    is_best = run.best is not None and (run.best.trial, run.best.epoch) == (record.trial, record.epoch)
    after = "the best so far" if is_best else decision.reason or ("paused" if decision.action == "pause" else "")
    return clean(f"{record.trial} epoch {record.epoch}: {value}{', ' if after else ''}{_first_line(after)}")


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _best(run: RunState) -> str:
    assert run.best is not None
    best = f"best {run.spec.objective.metric} {number(run.best.value)} ({run.best.trial}, epoch {run.best.epoch})"
    return f"{best}, {len(run.front)} on the front" if run.front else best


def _running(trials: list[TrialState], most: int = 4) -> str:
    named = ", ".join(f"{trial.id} (epoch {trial.epoch + 1})" for trial in trials[:most])
    more = f" and {len(trials) - most} more" if len(trials) > most else ""
    return f"running {named}{more}" if named else ""
