"""What a run used: memory of processes, of GPUs, and the disk."""

from __future__ import annotations

import shutil
from collections import defaultdict
from itertools import accumulate
from pathlib import Path

from tuner.core.records import Disk, Report
from tuner.outputs.disk import files_below
from tuner.outputs.grid import duration, size
from tuner.outputs.page.history import History, thinned
from tuner.outputs.page.html import Figure, paragraph, plot
from tuner.outputs.page.stints import stints

MOST_DOTS = 3000
GIB = 2**30
FEW = ("ledger", "study.journal", "driver.log")


def used(history: History) -> str:
    """Draw the use of memory, GPUs and disk."""
    return f'<div class="grid"><div>{_memory(history)}</div><div>{_gpu(history)}</div></div>' + _disk(history)


def _memory(history: History) -> str:
    points = [(elapsed, report) for elapsed, report in history.reports if report.memory]
    if not points:
        return paragraph("No report says how much memory its process took.")
    most = size(max(report.memory for _, report in points))
    says = f"Peak memory of each trial's process at each report; {most} at most. Shared pages count in each."
    return plot(_dots(history, points, "memory", "GiB"), says, 260)


def _gpu(history: History) -> str:
    points = [(elapsed, report) for elapsed, report in history.reports if report.gpu_memory]
    shares = _shares(history)
    if not points and not shares:
        return paragraph("No trial used a GPU.")
    made = ""
    if points:
        card = f" of {size(history.run.gpus.card)} that the largest GPU has" if history.run.gpus.card else ""
        most = size(max(report.gpu_memory for _, report in points))
        says = f"The most that each trial's tensors had taken of its GPU, at each report; {most}{card} at most."
        made += plot(_dots(history, points, "gpu_memory", "GiB of the GPU"), says, 260)
    if shares:
        seconds, _ = history.unit()
        line = {
            "type": "scatter", "mode": "lines", "x": [at / seconds for at, _ in shares], "y": [n for _, n in shares],
            "line": {"shape": "hv", "width": 1.5, "color": "@accent"}, "fill": "tozeroy",
        }  # fmt: skip
        layout = {
            "xaxis": history.when,
            "yaxis": {"title": {"text": "GPUs"}, "rangemode": "tozero"},
        }
        says = "GPUs given to trials while they trained, as in the timeline of workers; shares added up."
        made += plot({"data": [line], "layout": layout}, says, 220)
    return made


def _shares(history: History) -> list[tuple[float, float]]:
    """Follow how much of the GPUs is given to trials that run, while they do."""
    changes: dict[float, float] = defaultdict(float)
    for stint in stints(history):
        if stint.gpus:
            changes[stint.begin] += stint.gpus
            changes[stint.end] -= stint.gpus
    times = sorted(changes)
    return list(zip(times, accumulate(changes[at] for at in times), strict=True))


def _dots(history: History, points: list[tuple[float, Report]], name: str, title: str) -> Figure:
    seconds, _ = history.unit()
    shown = thinned(points, MOST_DOTS)
    dots = {
        "type": "scatter", "mode": "markers", "x": [elapsed / seconds for elapsed, _ in shown],
        "y": [getattr(report, name) / GIB for _, report in shown],
        "text": [f"{report.trial}, epoch {report.epoch}" for _, report in shown],
        "hovertemplate": "%{text}: %{y:.3g} GiB<extra></extra>", "marker": {"size": 5, "color": "@accent"},
    }  # fmt: skip
    axes = {
        "xaxis": {**history.when, "rangemode": "tozero"},
        "yaxis": {"title": {"text": title}, "rangemode": "tozero"},
    }
    return {"data": [dots], "layout": axes}


def _disk(history: History) -> str:
    said = [
        paragraph(f"After {duration(at)} the disk was full ({size(r.free)} free), and the run waited." if r.full else
                  f"After {duration(at)} there was room again ({size(r.free)} free).")
        for at, r in history.moments if isinstance(r, Disk)
    ]  # fmt: skip
    sizes = _sizes(history.folder)
    if set(sizes) <= {"ledger"}:
        return "".join(said) + paragraph("The run's folder is not here, so what it takes of a disk is not known.")
    total = sum(sizes.values())
    free = shutil.disk_usage(history.folder).free
    bar = {
        "type": "bar", "orientation": "h", "x": [count / 2**20 for count in sizes.values()], "y": list(sizes),
        "text": [size(count) for count in sizes.values()], "textposition": "outside", "marker": {"color": "@accent"},
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }  # fmt: skip
    room = {"range": [0, 1.3 * max(sizes.values()) / 2**20]}
    layout = {"xaxis": {"title": {"text": "MiB"}, **room}, "yaxis": {"type": "category", "autorange": "reversed"}}
    says = f"What the run's folder takes of its disk: {size(total)} in all, beside this page; {size(free)} are free."
    return "".join(said) + plot({"data": [bar], "layout": layout}, says, 90 + 26 * len(sizes))


def _sizes(folder: Path) -> dict[str, int]:
    """Add up the sizes of files by what they are, the largest first; what is deleted meanwhile counts as nothing."""
    found: dict[str, int] = {}
    for path in files_below(folder):
        try:
            count = 0 if path.is_symlink() else path.stat().st_size
        except OSError:
            continue
        if count and path.suffix != ".html":
            kind = _kind(path.relative_to(folder).parts)
            found[kind] = found.get(kind, 0) + count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _kind(parts: tuple[str, ...]) -> str:
    if parts[0] == "trials":
        return "checkpoints" if "checkpoints" in parts else "other files of trials"
    return parts[0] if len(parts) > 1 or parts[0] in FEW else "other files"
