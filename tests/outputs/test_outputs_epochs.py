"""Epochs are counted as trained, not as reported: a report may skip some, and a clone goes on from a donor's epoch."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tuner.core import epochs
from tuner.core.records import Lost, Record
from tuner.outputs import results
from tuner.outputs.forecast import share_done
from tuner.outputs.live import Show
from tuner.outputs.page import compare, progress
from tuner.outputs.page.history import History
from tuner.outputs.page.page import header
from tuner.outputs.page.stints import stints

from .pages_made import figures
from .runs_made import by_hand, cloned, experiment, reported, shown, suggested, written

SPEC = experiment(budget={"trials": 2, "epochs": 9})
SKIPPING: list[Record] = [
    suggested("t0000", x=0.1), suggested("t0001", x=0.2), reported("t0000", 3, score=0.1),
    reported("t0001", 3, score=0.3), Lost(trial="t0000", reason="killed"),
    reported("t0000", 9, score=0.5, end="finished"),
]  # fmt: skip


def test_epochs_between_reports_count_everywhere(tmp_path: Path) -> None:
    history = History(written(tmp_path / "run", by_hand(SPEC, *SKIPPING)))
    run = history.run
    assert epochs.of_run(run) == 12
    assert results.summary(run, "")["epochs"] == 12
    assert {row.trial: row.epochs for row in history.rows} == {"t0000": 9, "t0001": 3}
    assert [step.epochs for step in history.steps] == [3, 6, 12]
    assert sum(stint.epochs for stint in stints(history)) == 12
    assert "<dt>epochs trained</dt><dd>12</dd>" in header(history)
    by_epochs = figures(progress.best_so_far(history))[1]
    assert [trace["x"] for trace in by_epochs["data"]] == [[3, 6, 12], [3, 6, 12, 12]]
    compared = figures(compare._best([history], ["run"]))[1]
    assert compared["data"][0]["x"] == [3, 6, 12, 12]
    show = Show(Console(file=io.StringIO()))
    show.run, show.phase = run, ""
    assert re.match(r"\[0:0\d\] 1 of 2 trials, 12 epochs;", show.status())


def test_a_clone_counts_what_it_trained_itself() -> None:
    spec = experiment(budget={"trials": 2, "epochs": 9}, scheduler={"kind": "pbt", "interval_epochs": 2})
    ahead = replace(reported("t0000", 6, score=0.9), checkpoint="trials/t0000/e6")
    run = shown(by_hand(
        spec, suggested("t0000", x=0.1), suggested("t0001", x=0.2), ahead, cloned("t0001", 2, 0, ahead, 0.1),
        replace(reported("t0001", 8, score=0.8), generation=1),
    ))  # fmt: skip
    assert epochs.trained(run.trials["t0001"]) == 2 + 2
    assert epochs.of_run(run) == 10
    assert results.leaderboard(run)[1].epochs == 4
    assert share_done(run) == 10 / (10 + 3 + 1)
