"""A timeline of the workers: who did what, who was idle when."""

from __future__ import annotations

from collections import Counter

from tuner.outputs.grid import duration
from tuner.outputs.page.history import History
from tuner.outputs.page.html import Figure, paragraph, plot, table, whole
from tuner.outputs.page.stints import Lane, Stint, lanes, stints

MOST_BARS = 4000
COLOURED = ("finished", "stopped", "diverged", "failed", "infeasible", "lost", "stalled", "killed", "running", "paused")
OTHER_COLOURS = {"cloned": "@accent", "interrupted": "@lost"}


def timeline(history: History) -> str:
    """Draw a bar for each stint of a trial on a worker, and sum the workers up."""
    found = stints(history)
    if not found:
        return paragraph("No trial has reported yet: which worker did what is known from its reports.")
    until = history.run.elapsed
    rows = list(lanes(found, until))
    shown = found[-MOST_BARS:]
    says = "Which trial each worker trained, coloured by what became of it there; gaps are idle time."
    says += f" The first {len(found) - len(shown)} of {len(found)} are left out." if len(shown) < len(found) else ""
    says += " Vertical lines: a session began." if len(history.sessions) > 1 else ""
    return (
        plot(_bars(history, shown, rows), says, 110 + 26 * len(rows))
        + plot(_busy(history, found), "How many workers were busy.", 200)
        + table(["worker", "trials", "epochs", "busy", "idle", "longest idle"], [_row(lane, history) for lane in rows])
        + paragraph("A bar begins where the first epoch began that was reported there; what a process did before it, "
                    "and a trial that never reported, is not in the ledger.", "faint")
    )  # fmt: skip


def _bars(history: History, found: list[Stint], rows: list[Lane]) -> Figure:
    seconds, _ = history.unit()
    data = []
    for became in dict.fromkeys(stint.became for stint in found):
        mine = [stint for stint in found if stint.became == became]
        data.append(
            {"type": "bar", "orientation": "h", "name": became, "y": [stint.lane for stint in mine],
             "base": [stint.begin / seconds for stint in mine],
             "x": [(stint.end - stint.begin) / seconds for stint in mine],
             "text": [f"{s.trial}: {s.epochs} epochs in {duration(s.end - s.begin)}, {became}" for s in mine],
             "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
             "marker": {"color": f"@{became}" if became in COLOURED else OTHER_COLOURS[became],
                        "line": {"width": 0.5, "color": "@card"}}}
        )  # fmt: skip
    lines = [
        {"type": "line", "x0": at / seconds, "x1": at / seconds, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"width": 1, "dash": "dot", "color": "@ink"}}
        for at, _ in history.sessions[1:]
    ]  # fmt: skip
    layout = {
        "barmode": "overlay", "bargap": 0.25, "shapes": lines,
        "xaxis": {**history.when, "range": [0, history.run.elapsed / seconds]},
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": [r.name for r in rows][::-1]},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _busy(history: History, found: list[Stint]) -> Figure:
    seconds, _ = history.unit()
    changes: Counter[float] = Counter()
    for stint in found:
        changes[stint.begin] += 1
        changes[stint.end] -= 1
    times = sorted(changes)
    counts, now = [], 0
    for at in times:
        now += changes[at]
        counts.append(now)
    line = {
        "type": "scatter", "mode": "lines", "name": "busy", "x": [0.0, *(at / seconds for at in times)],
        "y": [0, *counts], "line": {"shape": "hv", "width": 1.2, "color": "@accent"}, "fill": "tozeroy",
    }  # fmt: skip
    across = {**history.when, "range": [0, history.run.elapsed / seconds]}
    up = {"title": {"text": "busy"}, "rangemode": "tozero", **whole(2 * max(counts))}
    return {"data": [line], "layout": {"xaxis": across, "yaxis": up}}


def _row(lane: Lane, history: History) -> list[object]:
    idle = sum(end - begin for begin, end in lane.idle)
    whole = lane.busy + idle
    longest = max(lane.idle, key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))
    length = longest[1] - longest[0]
    when = f"{duration(length)} from {duration(longest[0])} on" if length >= 1 else ""
    busy = f"{lane.busy / whole:.0%}" if whole else ""
    return [lane.name, lane.trials, lane.epochs, busy, duration(idle), when]
