"""Runs on the same objective, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tuner.outputs import experiment
from tuner.outputs.grid import duration, params_text
from tuner.outputs.page import setup
from tuner.outputs.page.history import History, bounds
from tuner.outputs.page.html import Figure, document, guarded, paragraph, plot, table, text
from tuner.outputs.results import summary
from tuner.spelled import spelled

COLOURS = ("@finished", "@best", "@running", "@infeasible", "@diverged", "@lost", "@paused", "@stalled")
LEADERS = 10


def page(runs: Sequence[History]) -> str:
    """Make the page that compares runs."""
    titles = names(runs)
    sections = [(title, anchor, guarded(partial(make, runs, titles))) for title, anchor, make in SECTIONS]
    objective = runs[0].run.spec.objective
    header = f"<h1>{text(' and '.join(titles))}</h1>" + paragraph(
        f"{len(runs)} runs on the same objective: {text(objective.mode)} {text(objective.metric)}.", "faint"
    )
    return document(f"{' and '.join(titles)}: compared", header, sections)


def names(runs: Sequence[History]) -> list[str]:
    """Name the runs, those of the same name with their folders."""
    plain = [history.run.name for history in runs]
    return [
        f"{name} ({history.folder})" if plain.count(name) > 1 else name
        for name, history in zip(plain, runs, strict=True)
    ]


def _facts(runs: Sequence[History], titles: Sequence[str]) -> str:
    columns = [_summed(history) for history in runs]
    return table(["", *titles], [[fact, *(column[fact] for column in columns)] for fact in columns[0]])


def _summed(history: History) -> dict[str, object]:
    run = history.run
    facts, best = summary(run, ""), run.best
    return {
        f"best {history.metric}": None if best is None else best.value,
        "found by": "" if best is None else f"{best.trial}, epoch {best.epoch}",
        "after": "" if best is None else f"{history.steps[-1].epochs} epochs, {duration(history.steps[-1].elapsed)}",
        "params of the best": "" if best is None else params_text(best.params),
        "trials": ", ".join(f"{count} {outcome}" for outcome, count in facts["trials"].items() if count),
        "epochs trained": facts["epochs"],
        "time driven": duration(run.elapsed),
        "trials at once": run.slots,
        "over": "yes" if run.finished() else "no",
    }


def _best(runs: Sequence[History], titles: Sequence[str]) -> str:
    if not any(history.steps for history in runs):
        return paragraph("No trial of these runs has reported a finite value.")
    last = max(runs, key=lambda history: history.run.elapsed)
    seconds, unit = last.unit()
    over_time = [([s.elapsed / seconds for s in h.steps], h.run.elapsed / seconds) for h in runs]
    over_epochs = [([float(s.epochs) for s in h.steps], float(h.trained[-1]) if h.steps else 0.0) for h in runs]
    parts = [(f"{unit} of the run", over_time), ("epochs trained, all trials together", over_epochs)]
    plots = [plot(_lines(runs, titles, title, xs), f"Best so far over {title}.", 340) for title, xs in parts]
    left = [title for title, history in zip(titles, runs, strict=True) if not history.steps]
    more = paragraph(f"Without a finite value: {text(', '.join(left))}.") if left else ""
    return f'<div class="grid">{"".join(plots)}</div>{more}'


def _lines(
    runs: Sequence[History], titles: Sequence[str], title: str, xs: Sequence[tuple[list[float], float]]
) -> Figure:
    data = [
        {"type": "scatter", "mode": "lines", "name": text(run), "x": [*x, end],
         "y": [step.value for step in history.steps] + [history.steps[-1].value],
         "line": {"shape": "hv", "width": 2.5, "color": COLOURS[place % len(COLOURS)]}}
        for place, (history, run, (x, end)) in enumerate(zip(runs, titles, xs, strict=True)) if history.steps
    ]  # fmt: skip
    values = [step.value for history in runs for step in history.steps]
    ends, _ = bounds(values, 1 if runs[0].run.spec.objective.mode == "max" else -1)
    axis: dict[str, Any] = {"title": {"text": text(runs[0].metric)}, **({"range": ends} if ends else {})}
    return {
        "data": data,
        "layout": {"xaxis": {"title": {"text": title}, "rangemode": "tozero"}, "yaxis": axis, "showlegend": True},
    }


def _leaders(runs: Sequence[History], titles: Sequence[str]) -> str:
    made = []
    for history, title in zip(runs, titles, strict=True):
        rows = [[row.trial, row.state, row.value, row.epoch if row.value is not None else None, params_text(row.params)]
                for row in history.rows[:LEADERS]]  # fmt: skip
        inside = table(["trial", "state", history.metric, "at epoch", "params"], rows)
        more = len(history.rows) - len(rows)
        inside += paragraph(f"… and {more} more", "faint") if more else ""
        made.append(f"<div><h3>{text(title)}</h3>{inside}</div>")
    return f'<div class="grid">{"".join(made)}</div>'


def _params(runs: Sequence[History], titles: Sequence[str]) -> str:
    def told(history: History, param: str) -> str:
        spec = history.run.spec
        if param in spec.space:
            when = "".join(f", only when {n} is {json.dumps(spelled(v))}" for n, v in spec.space[param].when.items())
            return setup.ranges(spec.space[param]) + when
        return f"fixed: {setup.shown(spec.fixed[param])}" if param in spec.fixed else ""

    known = list(dict.fromkeys(n for h in runs for n in (*h.run.spec.space, *h.run.spec.fixed)))
    return _differences(["param", *titles], {n: [told(history, n) for history in runs] for n in known})


def _settings(runs: Sequence[History], titles: Sequence[str]) -> str:
    specs = [experiment.plain(history.run.spec) for history in runs]
    keys = [key for key in dict.fromkeys(key for spec in specs for key in spec) if key not in ("space", "fixed")]
    rows = {key: [json.dumps(spelled(spec[key])) if key in spec else "" for spec in specs] for key in keys}
    return _differences(["key", *titles], rows)


def _versions(runs: Sequence[History], titles: Sequence[str]) -> str:
    packages = list(dict.fromkeys(package for history in runs for package in history.run.versions))
    rows = {package: [history.run.versions.get(package, "") for history in runs] for package in packages}
    differing = {package: found for package, found in rows.items() if len(set(found)) > 1}
    same = ", ".join(f"{package} {found[0]}" for package, found in rows.items() if package not in differing)
    made = _differences(["package", *titles], differing) if differing else paragraph("All versions are the same.")
    return made + (paragraph(f"The same: {text(same)}.", "faint") if differing and same else "")


def _differences(titles: Sequence[str], rows: dict[str, list[str]]) -> str:
    """Lay out rows, those that differ first, and marked."""
    ordered = sorted(rows, key=lambda key: len(set(rows[key])) == 1)
    marks = ["differs" if len(set(rows[key])) > 1 else "" for key in ordered]
    return table(titles, [[key, *rows[key]] for key in ordered], marks=marks)


SECTIONS: tuple[tuple[str, str, Callable[[Sequence[History], Sequence[str]], str]], ...] = (
    ("At a glance", "glance", _facts),
    ("Best so far", "best", _best),
    ("Leaderboards", "leaders", _leaders),
    ("Params", "params", _params),
    ("Settings", "settings", _settings),
    ("Versions", "versions", _versions),
)
"""Title, anchor, and what makes it; what differs has a bar at its left."""
