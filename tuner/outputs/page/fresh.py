"""How good the best trials are on fresh seeds."""

from __future__ import annotations

from tuner.outputs.confirmed import Confirmed, confirmed, head
from tuner.outputs.page.history import History
from tuner.outputs.page.html import Figure, paragraph, plot, table, text

TITLES = ("trial", "mean", "from", "to", "seeds", "P(best)", "in the search", "too good by", "dropped")


def seeds(history: History) -> str:
    """Show every repeat's value, and what their means tell."""
    rows = confirmed(history.run)
    said = paragraph(text(head(history.run, rows)))
    if not rows:
        return said
    says = "The value of each repeat (dots), their mean with its 95 % interval, and the best in the search (crosses)."
    cells = [
        [row.trial, row.mean, row.low, row.high, row.n, row.probability_best, row.search_value, row.optimism,
         row.dropped] for row in rows
    ]  # fmt: skip
    return said + plot(_figure(history, rows), says, 130 + 40 * len(rows)) + table(TITLES, cells)


def _figure(history: History, rows: list[Confirmed]) -> Figure:
    told = [row for row in rows if row.mean is not None]
    dots = [(value, row.trial) for row in rows for value in row.values if value is not None]
    half = [(row.high - row.low) / 2 if row.high is not None and row.low is not None else 0.0 for row in told]
    data = [
        {"type": "scatter", "mode": "markers", "name": "repeats", "x": [value for value, _ in dots],
         "y": [name for _, name in dots], "marker": {"color": "@faint", "size": 7}},
        {"type": "scatter", "mode": "markers", "name": "mean", "x": [row.mean for row in told],
         "y": [row.trial for row in told], "marker": {"color": "@best", "size": 11},
         "error_x": {"type": "data", "array": half, "color": "@best"}},
        {"type": "scatter", "mode": "markers", "name": "in the search", "x": [row.search_value for row in rows],
         "y": [row.trial for row in rows], "marker": {"color": "@running", "size": 9, "symbol": "x"}},
    ]  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": text(history.metric)}},
        "yaxis": {"type": "category", "autorange": "reversed"},
        "showlegend": True,
    }
    return {"data": data, "layout": layout}
