"""From lines (one an epoch) to figures: rates, shares of the cores' time, gaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from statistics import median
from typing import Any

Event = dict[str, Any]
CORES = 2


def began(event: Event) -> float:
    """Tell when the epoch's work began."""
    return event["t_end"] - event["seconds"]


def inside(events: Iterable[Event], low: float, high: float) -> float:
    """Sum the seconds inside epochs between two moments, over all workers."""
    return sum(max(0.0, min(one["t_end"], high) - max(began(one), low)) for one in events)


def gaps(events: list[Event]) -> tuple[list[float], list[float]]:
    """List the seconds between epochs of one trial, and those at a change of trials on one worker."""
    lanes: dict[Any, list[Event]] = defaultdict(list)
    for one in sorted(events, key=began):
        lanes[one["pid"]].append(one)
    between, change = [], []
    for lane in lanes.values():
        for one, following in pairwise(lane):
            (between if one["trial"] == following["trial"] else change).append(began(following) - one["t_end"])
    return between, change


def figures(events: list[Event], started: float, ended: float) -> dict[str, float | None]:
    """Reduce a contender's lines to its figures. All times are wall-clock seconds.

    `share` is the part of the cores' time, from the first result to the last, that was spent inside epochs;
    `share_busy` and `rate_busy` end where the last trial began: a worker that finds no more trials does not count.
    """
    events = sorted(events, key=lambda one: one["t_end"])
    first, last = events[0]["t_end"], events[-1]["t_end"]
    span = max(last - first, 1e-9)
    firsts: dict[str, float] = {}
    for one in events:
        firsts.setdefault(one["trial"], began(one))
    busy = max(max(firsts.values()) - first, 1e-9)
    between, change = gaps(events)
    return {
        "epochs": len(events),
        "trials": len(firsts),
        "rate": (len(events) - 1) / span,
        "share": inside(events, first, last) / (CORES * span),
        "share_busy": inside(events, first, first + busy) / (CORES * busy),
        "rate_busy": sum(first < one["t_end"] <= first + busy for one in events) / busy,
        "rate_with_start": len(events) / (last - started),
        "rate_to_exit": len(events) / (ended - started),
        "first_result": first - started,
        "seconds": ended - started,
        "epoch_seconds": median(one["seconds"] for one in events),
        "gap_epochs": median(between) if between else None,
        "gap_trials": median(change) if change else None,
        "lost_epochs": sum(between) / (CORES * span),
        "lost_trials": sum(change) / (CORES * span),
    }
