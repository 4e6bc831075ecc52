"""A run as text: the leaderboard, and each trial's learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tuner.core.state import RunState
from tuner.outputs import confirmed, front
from tuner.outputs.grid import Column, clean, cut, cut_front, duration, grid, number, params_text, room
from tuner.outputs.live import STYLES, is_bad
from tuner.outputs.page.history import thinned
from tuner.outputs.results import Row, leaderboard, summary

BARS = "▁▂▃▄▅▆▇█"
MOST_CURVES = 20
MOST_FAILURES = 5


def leaders(run: RunState, console: Console, most: int = 10) -> None:
    """Print the best trials."""
    _print(console, leaders_text(run, room(console), most))


def report(run: RunState, console: Console) -> None:
    """Print what a run found, and its curves."""
    width = room(console)
    lines = [Text(clean(_counts(run))), Text(cut(clean(best_line(run)), width)), Text("")]
    lines += leaders_text(run, width, 10)
    if members := front.lines(run, width):
        lines += [Text(""), *members]
    if found := confirmed.lines(run, width):
        lines += [Text(""), *found]
    if any(trial.reports for trial in run.trials.values()):
        lines += [Text(""), *curves(run, width)]
    _print(console, lines + _failures(run, width))


def leaders_text(run: RunState, width: int, most: int) -> list[Text]:
    """Lay out the best trials."""
    rows = leaderboard(run)
    if not rows:
        return [Text("No trial has begun.")]
    title, others = cut_front(run.spec.objective.metric, max(8, width // 5)), front.others(run)
    columns = [
        Column("trial"), Column("state", drop=2), *([Column("front", right=True)] if front.is_several(run) else []),
        Column(title, right=True), *(Column(cut_front(name, max(8, width // 6)), right=True) for name in others),
        Column("at epoch", right=True, drop=3), Column("epochs", right=True, drop=4),
        Column("params", drop=5, least=12),
    ]  # fmt: skip
    lines = grid(columns, [(_cells(run, row), STYLES.get(row.state, "red")) for row in rows[:most]], width)
    return lines + ([Text(cut(f"… and {len(rows) - most} more", width), style="dim")] if len(rows) > most else [])


def _cells(run: RunState, row: Row) -> list[str]:
    value, epoch = ("", "") if row.value is None else (number(row.value), str(row.epoch))
    others = [_number(run, name, row.metrics.get(name)) for name in front.others(run)]
    fronts = [str(row.front or "")] if front.is_several(run) else []
    value = _marked(run, run.spec.objective.metric, row.value, value)
    return [row.trial, row.state, *fronts, value, *others, epoch, str(row.epochs), params_text(row.params)]


def _number(run: RunState, metric: str, value: float | None) -> str:
    return _marked(run, metric, value, "" if value is None else number(value))


def _marked(run: RunState, metric: str, value: float | None, text: str) -> str:
    """Mark a value that breaks its limit."""
    breaks = any(limit.metric == metric and value is not None and limit.violation(value) for limit in run.spec.limits)
    return f"{text} ✗" if breaks else text


def curves(run: RunState, width: int, most: int = MOST_CURVES) -> list[Text]:
    """Draw a line for each of the best trials, its values scaled to those of all trials."""
    low, high = _bounds(run)
    rows = [row for row in leaderboard(run) if row.epochs][:most]
    longest = min(max(row.epochs for row in rows), max(8, width // 3))
    columns = [
        Column("trial"), Column("curve"), Column("last", right=True, drop=1), Column("why it ended", drop=2, least=12)
    ]  # fmt: skip
    cells = []
    for row in rows:
        points = [run.objective(report) for report in run.trials[row.trial].reports]
        share = max(1, round(longest * len(points) / max(r.epochs for r in rows)))
        curve = sparkline(thinned(points, share), low, high)
        cells.append(([row.trial, curve, number(points[-1]), row.reason or row.state], STYLES.get(row.state, "red")))
    head = f"{run.spec.objective.metric} by epoch, {BARS[0]} = {low:.4g} to {BARS[-1]} = {high:.4g}"
    return [Text(cut(clean(head), width)), *grid(columns, cells, width)]


def _bounds(run: RunState) -> tuple[float, float]:
    """Find bounds between which good curves differ: the worst quarter of all values does not widen them."""
    score = run.spec.objective.score
    values = [run.objective(report) for trial in run.trials.values() for report in trial.reports]
    scores = sorted(score(value) for value in values if math.isfinite(value))
    if not scores:
        return 0.0, 1.0
    ends = score(scores[len(scores) // 4]), score(scores[-1])
    return min(ends), max(ends)


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw values as bars between two bounds; what is not finite is a cross."""
    return "".join(_bar(value, low, high) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "×"
    share = 0.5 if high == low else (value - low) / (high - low)
    return BARS[max(0, min(int(share * len(BARS)), len(BARS) - 1))]


def _counts(run: RunState) -> str:
    facts = summary(run, "")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in facts["trials"].items() if count)
    trials = f"{len(run.trials)} trials ({counted or 'none'})"
    return f"{run.name}: {trials}, {facts['epochs']} epochs in {duration(run.elapsed)}"


def _failures(run: RunState, width: int) -> list[Text]:
    """Say why trials failed; each reason once."""
    failed = [trial for trial in run.trials.values() if is_bad(trial)]
    reasons: dict[str, list[str]] = {}
    for trial in failed:
        reasons.setdefault((trial.reason or "no reason").strip().split("\n", 1)[0], []).append(trial.id)
    lines = [f"{_some(names)}: {reason}" for reason, names in list(reasons.items())[:MOST_FAILURES]]
    if not lines:
        return []
    return [Text(""), *(Text(cut(clean(line), max(width, 200)), style="red") for line in lines)]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} failed"


def best_line(run: RunState) -> str:
    """Say what the best is."""
    if run.best is None:
        return front.nothing(run)
    if front.is_several(run) and (best := run.chosen) is not None:
        text = (
            f"In best/ is {best.trial} at epoch {best.epoch}: {front.values_text(best)}  ({params_text(best.params)})"
        )
        return f"{text}; {front.why_chosen(run)}"
    best = run.best
    text = f"Best {run.spec.objective.metric} {best.value:.6g}: {best.trial} at epoch {best.epoch}"
    return f"{text}  ({params_text(best.params)})"


def _print(console: Console, lines: Sequence[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=not console.is_terminal)
