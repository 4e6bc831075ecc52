"""How a run got on: its best so far, and the learning curves of its trials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tuner.core.records import Report
from tuner.outputs.page.history import History, bounds, thinned
from tuner.outputs.page.html import Figure, paragraph, plot, text

MOST_DOTS = 3000
"""Reports that are drawn behind the line of the best."""
MOST_POINTS = 40_000
"""Points of all learning curves together."""
MOST_CURVES = 1500
NAMED = 5
"""The best trials, whose curves have a colour and a name of their own."""
NAMED_COLOURS = ("@best", "@running", "@infeasible", "@diverged", "@stalled")
OTHERS = "failed"
"""The group of curves of all outcomes that are neither good nor a matter of course."""
GROUPS = ("stopped", "finished", "running", "paused", "diverged", OTHERS)


def best_so_far(history: History) -> str:
    """Draw the best value over time and over epochs."""
    if not history.steps:
        return paragraph("No trial has reported a finite value yet, so there is no best.")
    seconds, unit = history.unit()
    dots = list(zip(history.trained, history.reports, strict=True))
    shown = thinned(dots, MOST_DOTS)
    left_out = f" Of {len(dots)} reports {len(shown)} are drawn as dots." if len(shown) < len(dots) else ""
    over_time = [elapsed / seconds for _, (elapsed, _) in shown]
    by_time = [step.elapsed / seconds for step in history.steps]
    over_epochs, by_epochs = [float(n) for n, _ in shown], [float(step.epochs) for step in history.steps]
    ends = history.run.elapsed / seconds, float(history.trained[-1])
    reports = [report for _, (_, report) in shown]
    return (
        '<div class="grid">'
        + _best(history, f"{unit} of the run", reports, over_time, by_time, ends[0], left_out)
        + _best(history, "epochs trained, all trials together", reports, over_epochs, by_epochs, ends[1], left_out)
        + "</div>"
    )


def _best(
    history: History, title: str, reports: list[Report], dots: list[float], line: list[float], end: float, more: str
) -> str:
    run, steps = history.run, history.steps
    ends, outside = bounds(history.values, 1 if run.spec.objective.mode == "max" else -1)
    figure: Figure = {
        "data": [
            {"type": "scatter", "mode": "markers", "name": "each report", "x": dots,
             "y": [run.objective(report) for report in reports],
             "text": [f"{report.trial}, epoch {report.epoch}" for report in reports],
             "hovertemplate": "%{text}: %{y:.5g}<extra></extra>",
             "marker": {"size": 4, "color": "@stopped", "opacity": 0.5}},
            {"type": "scatter", "mode": "lines", "name": "best so far", "x": [*line, end],
             "y": [step.value for step in steps] + [steps[-1].value],
             "text": [f"{step.report.trial}, epoch {step.report.epoch}" for step in steps] + ["so far"],
             "hovertemplate": "%{text}: %{y:.6g}<extra></extra>",
             "line": {"shape": "hv", "width": 2.5, "color": "@best"}},
        ],
        "layout": {"xaxis": {"title": {"text": title}, "rangemode": "tozero"}, "yaxis": _axis(history, ends)},
    }  # fmt: skip
    return plot(figure, f"Best {history.metric} over {title}.{more}{_outside(outside)}", 320)


def _axis(history: History, ends: list[float] | None) -> dict[str, Any]:
    return {"title": {"text": text(history.metric)}, **({"range": ends} if ends else {})}


def _outside(count: int) -> str:
    return f" {count} values lie outside of the picture; a double click shows them." if count else ""


def curves(history: History) -> str:
    """Draw the learning curves, and the rungs at which trials were held against others."""
    rows = [row for row in history.rows if row.epochs]
    if not history.values:
        return paragraph("No trial has reported a finite value yet, so there are no curves.")
    shown = rows[:MOST_CURVES]
    total = sum(len(history.run.trials[row.trial].reports) for row in shown)
    share = min(1.0, MOST_POINTS / total)
    data = _groups(history, [row.trial for row in shown[NAMED:]], share)
    for place, row in enumerate(shown[:NAMED]):
        points = list(_points(history, row.trial, share))
        data.append(_curve(row.trial, points, NAMED_COLOURS[place], 2.2 if place == 0 else 1.6))
    data += _cutoffs(history)
    ends, outside = bounds(history.values, 1 if history.run.spec.objective.mode == "max" else -1)
    layout = {
        "xaxis": {"title": {"text": "epoch"}}, "yaxis": _axis(history, ends), "shapes": list(_rungs(history)),
    }  # fmt: skip
    says = f"{history.metric} by epoch, a line for each trial; the best {min(NAMED, len(shown))} have names."
    rungs = "intervals" if history.run.spec.scheduler.kind == "pbt" else "rungs"
    says += f" Dotted lines are {rungs}." if layout["shapes"] else ""
    says += f" The worst {len(rows) - len(shown)} curves are left out." if len(shown) < len(rows) else ""
    says += f" Of {total} points about {int(total * share)} are drawn, the last of each curve among them." * (share < 1)
    return plot({"data": data, "layout": layout}, says + _outside(outside), 440)


Point = tuple[int | None, float | None]


def _points(history: History, trial: str, share: float) -> Iterator[Point]:
    """Yield epochs and values of a trial, with a gap where it went on from the weights of another one."""
    reports = history.run.trials[trial].reports
    before = 0
    for report in thinned(reports, max(2, round(len(reports) * share))):
        if report.epoch <= before:
            yield None, None
        before = report.epoch
        yield report.epoch, history.run.objective(report)


def _groups(history: History, trials: list[str], share: float) -> list[dict[str, Any]]:
    """Draw many curves as one line with gaps for each outcome: a thousand lines would be slow."""
    groups: dict[str, list[tuple[str, Point]]] = {}
    for name in trials:
        trial = history.run.trials[name]
        state = trial.outcome or trial.status
        inside = groups.setdefault(state if state in GROUPS else OTHERS, [])
        inside.extend((name, point) for point in _points(history, name, share))
        inside.append((name, (None, None)))
    return [
        {**_curve(state, [point for _, point in groups[state]], f"@{state}", 1.0),
         "opacity": 0.55, "text": [name for name, _ in groups[state]],
         "hovertemplate": "%{text}, epoch %{x}: %{y:.5g}<extra></extra>"}
        for state in GROUPS if state in groups
    ]  # fmt: skip


def _curve(name: str, points: list[Point], colour: str, width: float) -> dict[str, Any]:
    alone = len(points) == 1
    return {
        "type": "scatter", "mode": "markers" if alone else "lines", "name": name,
        "x": [epoch for epoch, _ in points], "y": [value for _, value in points],
        "line": {"width": width, "color": colour}, "marker": {"color": colour, "size": 6},
        "hovertemplate": f"{name}, epoch %{{x}}: %{{y:.5g}}<extra></extra>",
    }  # fmt: skip


def _rungs(history: History) -> Iterator[dict[str, Any]]:
    for epoch in sorted({epoch for _, epoch in history.run.rungs}):
        yield {
            "type": "line", "x0": epoch, "x1": epoch, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
            "line": {"dash": "dot", "width": 1.5, "color": "@faint"},
        }  # fmt: skip


def _cutoffs(history: History) -> list[dict[str, Any]]:
    """Mark the value that trials were last held against at each rung."""
    last: dict[tuple[int, int], float] = {}
    for _, report in history.reports:
        mark = report.decision.mark
        if mark is not None and mark.cutoff is not None:
            last[mark.bracket, mark.epoch] = mark.cutoff
    if not last:
        return []
    brackets = len({bracket for bracket, _ in last}) > 1
    return [
        {"type": "scatter", "mode": "markers", "name": "last cutoff", "x": [epoch for _, epoch in last],
         "y": list(last.values()), "marker": {"symbol": "line-ew", "size": 18, "line": {"width": 2.5, "color": "@ink"}},
         "text": [f"rung {epoch}" + (f" of bracket {bracket}" if brackets else "") for bracket, epoch in last],
         "hovertemplate": "%{text}: cutoff %{y:.5g}<extra></extra>"}
    ]  # fmt: skip
