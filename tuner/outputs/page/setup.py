"""What a run was made of: its trials, params, settings, versions, and the commands that repeat it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner.outputs import experiment, front
from tuner.outputs.best import PARAMS
from tuner.outputs.page.history import History
from tuner.outputs.page.html import block, folded, paragraph, table
from tuner.outputs.results import Row
from tuner.spec.space import Choice
from tuner.spelled import spelled
from tuner.storage import BEST

MOST_ROWS = 2000


def trials(history: History) -> str:
    """List all trials, the best first."""
    if not history.rows:
        return paragraph("No trial has begun.")
    names = list(history.run.spec.space)
    others, fronts = front.others(history.run), front.is_several(history.run)
    rows = [
        [*_facts(row), *([row.front] if fronts else []), *(row.metrics.get(name) for name in others),
         *(_param(row, name) for name in names), row.reason]
        for row in history.rows[:MOST_ROWS]
    ]  # fmt: skip
    titles = ["trial", "state", history.metric, "at epoch", "epochs", *(["front"] if fronts else []), *others, *names]
    titles.append("why it ended")
    top = history.run.chosen if fronts else history.run.best
    best = top.trial if top else ""
    marks = ["best" if row.trial == best else "" for row in history.rows[:MOST_ROWS]]
    more = len(history.rows) - len(rows)
    said = "Params are those at the epoch of the best value. A click on a title sorts."
    said += f" The worst {more} are left out; leaderboard.csv has them all." if more else ""
    return paragraph(said, "faint") + f'<div class="tall">{table(titles, rows, sortable=True, marks=marks)}</div>'


def _facts(row: Row) -> list[object]:
    return [row.trial, row.state, row.value, row.epoch if row.value is not None else None, row.epochs]


def _param(row: Row, name: str) -> object:
    return shown(row.params[name]) if name in row.params else None


def shown(value: Any) -> object:
    """Show a value as in a table: numbers as numbers, all else as it is written."""
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(spelled(value))


def space(history: History) -> str:
    """List what was searched, and what stayed the same."""
    rows = []
    for name, dimension in history.run.spec.space.items():
        seen = [row.params[name] for row in history.rows if name in row.params]
        rows.append([name, ranges(dimension), _when(dimension), _seen(dimension, seen)])
    fixed = [[name, shown(value)] for name, value in history.run.spec.fixed.items()]
    return (
        table(["param", "what it may be", "only when", "what trials had"], rows)
        + "<h3>Params that stayed the same</h3>"
        + (table(["param", "value"], fixed) if fixed else paragraph("None."))
    )


def ranges(dimension: Any) -> str:
    """Say what a param may be."""
    if isinstance(dimension, Choice):
        return "one of " + ", ".join(str(shown(value)) for value in dimension.values)
    is_whole = dimension.dist == "int"
    step = f", in steps of {dimension.step:g}" if dimension.step and not (is_whole and dimension.step == 1) else ""
    whole = "whole, " if is_whole else ""
    return f"{whole}{dimension.low:g} to {dimension.high:g}{', log' if dimension.log else ''}{step}"


def _when(dimension: Any) -> str:
    return ", ".join(f"{name} is {json.dumps(spelled(value))}" for name, value in dimension.when.items())


def _seen(dimension: Any, values: list[Any]) -> str:
    if not values:
        return "no trial had it"
    if isinstance(dimension, Choice):
        counts = [sum(dimension.index(value) == place for value in values) for place in range(len(dimension.values))]
        return ", ".join(f"{count} × {shown(v)}" for v, count in zip(dimension.values, counts, strict=True))
    return f"{min(values):.4g} to {max(values):.4g}"


def repeat(history: History) -> str:
    """Give the commands that run it again, its settings, the versions and the sessions."""
    folder = history.folder
    file, best = folder / experiment.NAME, folder / BEST / PARAMS
    made = ""
    if file.exists():
        made += paragraph("The whole search again, with all its defaults:") + block(experiment.command(file))
    if best.exists():
        made += paragraph("One training with the best params:") + block(experiment.command(best))
    made += folded("The experiment", block(settings(history, file)), is_open=not file.exists())
    versions = sorted(history.run.versions.items())
    made += "<h3>Versions</h3>" + table(["package", "version"], [[name, number] for name, number in versions])
    sessions = [
        [session.attempt, _moment(session.time), session.host, session.pid, session.slots]
        for _, session in history.sessions
    ]
    return made + "<h3>Sessions</h3>" + table(["session", "began", "machine", "process", "trials at once"], sessions)


def settings(history: History, file: Path) -> str:
    """Give the experiment as YAML: as the run's folder has it, else from the ledger."""
    if file.exists() and not history.run.changed:
        return file.read_text()
    return experiment.document(experiment.plain(history.run.spec), [f"{history.run.name}, as its ledger has it"])


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds") if seconds else ""
