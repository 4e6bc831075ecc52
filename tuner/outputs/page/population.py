"""Population based training: who went on from whom, and the schedules of the params that came of it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tuner.core.records import Clone, Report
from tuner.outputs.page.history import History, thinned
from tuner.outputs.page.html import SCALE, Figure, paragraph, plot, text
from tuner.outputs.page.setup import shown
from tuner.spec.space import Choice

MOST_MEMBERS = 60
MOST_ARROWS = 1500


@dataclass(frozen=True, slots=True)
class Piece:
    """What a member trained with one set of params."""

    trial: str
    generation: int
    begin: int
    """The epoch that it began from: 0, or that of the donor's checkpoint."""
    end: int
    params: dict[str, Any]
    reports: list[Report]
    clone: Clone | None
    """Where it began from."""
    place: int
    """Which of the run's reports made it begin; -1 where it began with the run."""


def population(history: History) -> str:
    """Draw the family tree, and a schedule for each param."""
    pieces = list(_pieces(history))
    if not any(piece.reports for piece in pieces):
        return paragraph("No member has reported yet.")
    line = _ancestors(history, pieces)
    copies = sum(piece.clone is not None for piece in pieces)
    best = history.run.best
    said = f"{copies} times a member went on from the weights of another one."
    if best is not None:
        said += f" The weights of the best ({best.trial}, epoch {best.epoch}) came by way of "
        said += " → ".join(dict.fromkeys(piece.trial for piece in line)) + "."
    members = list(dict.fromkeys(piece.trial for piece in pieces))
    says = "The family tree: a row for each member, the better the more orange; an arrow leads from the donor to "
    says += "who went on from its weights. The way of the best is outlined."
    drawn = members[:MOST_MEMBERS]
    shown = [piece for piece in pieces if piece.trial in drawn]
    arrows = [piece for piece in shown if piece.clone is not None and piece.clone.donor in drawn]
    tree = plot(_tree(history, shown, thinned(arrows, MOST_ARROWS), line, drawn), says, 120 + 30 * len(drawn))
    if len(members) > MOST_MEMBERS:
        left_out = f"Only the first {MOST_MEMBERS} of {len(members)} members are drawn, here and in the schedules"
        tree += paragraph(f"{left_out}; {copies - len(arrows)} arrows from or to others are left out.")
    if len(arrows) > MOST_ARROWS:
        tree += paragraph(f"Of {len(arrows)} arrows {MOST_ARROWS} are drawn.")
    more = "of each member by epoch; thick: what the weights of the best were trained with."
    plots = [plot(_schedule(history, n, shown, line), f"{n} {more}", 280) for n in history.run.spec.space]
    return f'{paragraph(text(said))}{tree}<h3>Schedules</h3><div class="grid">{"".join(plots)}</div>'


def _pieces(history: History) -> Iterator[Piece]:
    places: dict[tuple[str, int], int] = {}
    inside: dict[tuple[str, int], list[Report]] = defaultdict(list)
    for place, (_, report) in enumerate(history.reports):
        inside[report.trial, report.generation].append(report)
        if report.decision.clone is not None:
            places[report.trial, report.generation + 1] = place
    for trial in history.run.trials.values():
        clones: list[Clone | None] = [None, *(r.decision.clone for r in trial.reports if r.decision.clone is not None)]
        for generation, clone in enumerate(clones):
            mine, place = inside[trial.id, generation], places.get((trial.id, generation), -1)
            begin = clone.epoch if clone else 0
            end = max((report.epoch for report in mine), default=begin)
            yield Piece(trial.id, generation, begin, end, trial.params_of(generation), mine, clone, place)


def _ancestors(history: History, pieces: list[Piece]) -> list[Piece]:
    """Follow the weights of the best back to where they were drawn at random; the oldest piece first."""
    best = history.run.best
    if best is None:
        return []
    piece: Piece | None
    piece = next(p for p in pieces if p.trial == best.trial and any(_is(best, r, history) for r in p.reports))
    found = [replace(piece, end=best.epoch)]
    while piece is not None and piece.clone is not None:
        clone = piece.clone
        piece = _donor(piece, clone, pieces)
        if piece is not None:
            found.append(replace(piece, end=clone.epoch))
    return found[::-1]


def _donor(piece: Piece, clone: Clone, pieces: list[Piece]) -> Piece | None:
    """Find the piece of the donor that a piece went on from.

    It began before that one, which also ends the search for ancestors: a donor may later get its own weights back. It
    may be of an earlier generation of the donor than its last one.
    """
    older = [one for one in pieces if one.trial == clone.donor and one.place < piece.place]
    reported = (one for one in older if any(report.checkpoint == clone.checkpoint for report in one.reports))
    handed_on = (one for one in reversed(older) if _hands_on(one, clone))
    return next(reported, None) or next(handed_on, None)


def _is(best: Any, report: Report, history: History) -> bool:
    return bool(report.epoch == best.epoch and history.run.objective(report) == best.value)


def _hands_on(piece: Piece, clone: Clone) -> bool:
    """Tell whether a donor had itself only just been copied, and trained nothing since."""
    return piece.clone is not None and piece.clone.checkpoint == clone.checkpoint


def _tree(history: History, pieces: list[Piece], arrows: list[Piece], line: list[Piece], members: list[str]) -> Figure:
    rows = {name: row for row, name in enumerate(members)}
    reports = [report for piece in pieces for report in piece.reports]
    lanes: dict[str, list[Any]] = {"x": [], "y": []}
    for piece in pieces:
        lanes["x"] += [piece.begin, piece.end, None]
        lanes["y"] += [rows[piece.trial], rows[piece.trial], None]
    way: dict[str, list[Any]] = {"x": [], "y": []}
    for piece in (piece for piece in line if piece.trial in rows):
        way["x"] += [piece.begin, piece.end]
        way["y"] += [rows[piece.trial], rows[piece.trial]]
    data = [
        {"type": "scatter", "mode": "lines", "line": {"width": 2, "color": "@line"}, "hoverinfo": "skip", **lanes},
        {"type": "scatter", "mode": "lines", "line": {"width": 14, "color": "@best"}, "opacity": 0.35,
         "hoverinfo": "skip", **way},
        {"type": "scatter", "mode": "markers", "x": [r.epoch for r in reports], "y": [rows[r.trial] for r in reports],
         "text": [_hover(history, report) for report in reports], "hovertemplate": "%{text}<extra></extra>",
         "marker": {"size": 11, "color": _ranks(history, reports), "colorscale": SCALE,
                    "line": {"width": 0.5, "color": "@faint"}}},
        _arrows(arrows, rows),
    ]  # fmt: skip
    layout = {
        "showlegend": False, "xaxis": {"title": {"text": "epoch"}},
        "yaxis": {"tickvals": list(rows.values()), "ticktext": members, "range": [len(rows) - 0.5, -0.5],
                  "showgrid": False, "zeroline": False},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _ranks(history: History, reports: list[Report]) -> list[int]:
    """Rank reports, the worst 0: values themselves would all look alike beside the first ones."""
    score = history.run.spec.objective.score
    scores = [score(value) if math.isfinite(value := history.run.objective(r)) else -math.inf for r in reports]
    return [bisect_left(ordered, one) for ordered in [sorted(scores)] for one in scores]


def _hover(history: History, report: Report) -> str:
    params = history.run.trials[report.trial].params_of(report.generation)
    said = [f"{report.trial}, epoch {report.epoch}: {history.run.objective(report):.5g}"]
    said += [f"{name} {f'{value:.4g}' if isinstance(value, float) else text(value)}" for name, value in params.items()]
    return "<br>".join(said)


def _arrows(pieces: list[Piece], rows: dict[str, int]) -> dict[str, Any]:
    """Draw an arrow to each piece from its donor, all as one line with gaps: an annotation each would be slow."""
    ends: dict[str, list[Any]] = {"x": [], "y": []}
    for piece in pieces:
        if piece.clone is not None:
            ends["x"] += [piece.begin, piece.begin, None]
            ends["y"] += [rows[piece.clone.donor], rows[piece.trial], None]
    return {
        "type": "scatter", "mode": "lines+markers", "hoverinfo": "skip", "line": {"width": 1.2, "color": "@faint"},
        "marker": {"symbol": "arrow", "angleref": "previous", "size": [0, 10, 0] * len(pieces), "color": "@faint",
                   "standoff": [0, 6, 0] * len(pieces), "opacity": 1},
        **ends,
    }  # fmt: skip


def _schedule(history: History, name: str, pieces: list[Piece], line: list[Piece]) -> Figure:
    dimension = history.run.spec.space[name]
    others: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for piece in pieces:
        if name in piece.params:
            value = _shown(piece.params[name], dimension)
            # A step where it went on from the same epoch, a gap where the donor was elsewhere.
            gap = [] if piece.generation and others["x"] and others["x"][-1] == piece.begin else [None]
            others["x"] += [*gap, piece.begin, piece.end]
            others["y"] += [*gap, value, value]
            others["text"] += [*gap, piece.trial, piece.trial]
    way: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for piece in (piece for piece in line if name in piece.params):
        value = _shown(piece.params[name], dimension)
        way["x"] += [piece.begin, piece.end]
        way["y"] += [value, value]
        way["text"] += [piece.trial, piece.trial]
    lines = {"type": "scatter", "mode": "lines", "hovertemplate": "%{text}: %{y}<extra></extra>"}
    data = [
        {**lines, "name": "members", "line": {"width": 1.3, "color": "@stopped"}, **others},
        {**lines, "name": "the best's weights", "line": {"width": 4, "color": "@best"}, **way},
    ]
    axis: dict[str, Any] = {"title": {"text": text(name)}}
    if isinstance(dimension, Choice):
        axis |= {"type": "category", "categoryorder": "array",
                 "categoryarray": [_shown(value, dimension) for value in dimension.values]}  # fmt: skip
    elif dimension.log:
        axis |= {"type": "log", **({"dtick": 1} if dimension.high >= 100 * dimension.low else {})}
    return {"data": data, "layout": {"xaxis": {"title": {"text": "epoch"}}, "yaxis": axis}}


def _shown(value: Any, dimension: object) -> Any:
    return text(shown(value)) if isinstance(dimension, Choice) else value
