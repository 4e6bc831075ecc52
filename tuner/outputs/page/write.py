"""Writes the page of one run, or that of several which it compares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tuner.outputs.page import NAME, compare, page
from tuner.outputs.page.history import History, refuse_strangers
from tuner.storage import write_whole


def read(folders: Sequence[Path]) -> list[History]:
    """Read runs, also those that are live; raises UserError where their objectives differ."""
    runs = [History(folder) for folder in folders]
    refuse_strangers([history.run for history in runs])
    return runs


def target(runs: Sequence[History], is_copy: bool = False) -> Path:
    """Tell where the page belongs: into the folder of the (first) run.

    Where that is but a copy of its ledger, or may not be written, it is the current folder.
    """
    home = runs[0].folder
    elsewhere = is_copy or not os.access(home, os.W_OK)
    if len(runs) > 1:
        return (Path() if elsewhere else home) / f"compare-{'-'.join(history.run.name for history in runs)}.html"
    return Path(f"{runs[0].run.name}-{NAME}") if elsewhere else home / NAME


def write(runs: Sequence[History], path: Path) -> Path:
    """Write the page; returns where it is."""
    write_whole(path, page.page(runs[0]) if len(runs) == 1 else compare.page(runs), sync=False)
    return path
