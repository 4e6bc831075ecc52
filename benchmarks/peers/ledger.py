"""Read a run's ledger: the one place of the benchmarks that knows its format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Work:
    """One trial as it was run: its params and how many epochs it got."""

    trial: str
    params: dict[str, Any]
    epochs: int


def records(run: Path) -> Iterator[dict[str, Any]]:
    """Yield the records; each line is `crc32hex json`, and a torn tail is left out."""
    for line in (run / "ledger").read_text().splitlines():
        try:
            yield json.loads(line.partition(" ")[2])
        except json.JSONDecodeError:
            return


def events(run: Path) -> list[dict[str, Any]]:
    """Give the reports as the peers' lines: t_end, seconds, trial, epoch, pid (here the worker)."""
    return [
        {
            "t_end": float(one["time"]),
            "seconds": float(one["seconds"]),
            "trial": str(one["trial"]),
            "epoch": int(one["epoch"]),
            "pid": one.get("worker"),
        }
        for one in records(run)
        if one["kind"] == "report"
    ]


def work(run: Path) -> list[Work]:
    """List the trials that got an epoch, in the order of their suggestion, with the epochs that they got."""
    params = {str(one["trial"]): one["params"] for one in records(run) if one["kind"] == "suggested"}
    last: dict[str, int] = {}
    for event in events(run):
        last[event["trial"]] = max(event["epoch"], last.get(event["trial"], 0))
    return [Work(trial, values, last[trial]) for trial, values in params.items() if trial in last]
