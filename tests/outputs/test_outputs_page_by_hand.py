"""The page of runs that are written by hand: too little to show, tags in names, who was idle when."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.core.records import Asked, Ended, Lost, Record, Report, Session, Tick
from tuner.outputs.page import html, searched
from tuner.outputs.page.history import History, bounds
from tuner.outputs.page.stints import lanes, stints

from .pages_made import at, figures, made, timed
from .runs_made import MIXED, by_hand, experiment, failed, reported, suggested, written


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], ["No trial has begun.", "No trial has reported a finite value", "No trial has ended yet."]),
        ([suggested("t0000", x=0.5)], ["The run is not over: 1 trials run", "No trial failed."]),
        ([suggested("t0000", x=0.5), reported("t0000", 1, score=math.nan)], ["no curves", "No trial has a finite"]),
        ([suggested("t0000", x=0.5), reported("t0000", 1, score=0.5)],
         ["lines begin to tell something with the second", "importance is told from 10 on", "No trial used a GPU."]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["asha", "pbt"])
def test_where_there_is_not_enough_to_show_a_sentence_says_so(
    tmp_path: Path, records: list[Record], said: list[str], kind: str
) -> None:
    text = made(written(tmp_path / "run", by_hand(experiment(scheduler={"kind": kind}), *records)))
    for one in said:
        assert one in text
    if not any(isinstance(record, Report) for record in records):
        assert figures(text) == [] or all(figure["data"] for figure in figures(text))


def test_one_param_and_equal_values_are_not_weighed(tmp_path: Path) -> None:
    records = [r for i in range(12) for r in (suggested(f"t{i:04}", x=i / 12), reported(f"t{i:04}", 1, score=0.5))]
    one = History(written(tmp_path / "one", by_hand(experiment(budget={"trials": 20, "epochs": 2}), *records)))
    assert "Only one param was varied" in searched.importance(one)
    spec = experiment(space={"x": MIXED["lr"], "y": MIXED["layers"]}, budget={"trials": 20, "epochs": 2})
    two = by_hand(spec, *[replace(r, params={"x": 0.1, "y": i % 8 + 1}) if hasattr(r, "seen") else r
                          for i, r in enumerate(records)])  # fmt: skip
    assert "Only one param was varied" in searched.importance(History(written(tmp_path / "two", two)))


def test_what_users_wrote_is_escaped_for_the_page_and_for_plotly(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)"></script>'
    values = [evil, ["</script>"]]
    spec = experiment(
        objective={"metric": evil, "mode": "min"}, budget={"trials": 12, "epochs": 2}, fixed={"evil": evil},
        space={"x": {"dist": "float", "low": 0, "high": 1}, "kind": {"dist": "choice", "values": values}},
    )  # fmt: skip
    records = [
        record
        for i in range(12)
        for record in (
            suggested(f"t{i:04}", x=i / 12, kind=values[i % 2]),
            reported(f"t{i:04}", 1, **{evil: float(i)}),
            failed(f"t{i:04}", f"{evil}: {evil}", evil),
        )
    ]
    text = made(written(tmp_path / "run", by_hand(spec, *records)))
    assert "<img" not in text.replace(html.HERE.joinpath("page.js").read_text(), "")
    assert len(figures(text)) > 8
    shown = json.dumps(figures(text))
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_stints_tell_who_did_what_and_who_was_idle_when(tmp_path: Path) -> None:
    def epoch(moment: float, worker: str, trial: str, number: int, **more: Any) -> Record:
        return at(moment, reported(trial, number, score=0.1, **more), worker=worker, node="n", seconds=2.0)

    records = by_hand(
        experiment(),
        at(0, suggested("t0000", x=0.1)), at(0, suggested("t0001", x=0.2)), at(0, suggested("t0002", x=0.3)),
        epoch(3, "a", "t0000", 1), epoch(4, "b", "t0001", 1),
        epoch(5, "a", "t0000", 2, end="stopped"),
        at(7, Lost(trial="t0001", reason="killed")),
        epoch(10, "a", "t0002", 1),
        at(11, Asked(trial="t0002")),
        at(12, suggested("t0003", x=0.4)),
        at(20, Session(attempt=2, host="h", pid=2, slots=2, versions={})),
        epoch(23, "c", "t0001", 2),
        at(25, Ended(trial="t0001", outcome="failed", reason="x")),
        epoch(26, "a", "t0003", 1),
        at(27, Tick(elapsed=1.0)),
    )  # fmt: skip
    records[1] = at(0, records[1])
    history = History(timed(tmp_path / "run", records))
    found = [(s.trial, s.lane, s.begin, s.end, s.epochs, s.became) for s in stints(history)]
    # The second session begins 12 seconds into the run: what lies between two sessions is not counted.
    assert found == [
        ("t0000", "a", 1.0, 5.0, 2, "stopped"),
        ("t0001", "b", 2.0, 7.0, 1, "lost"),
        ("t0002", "a", 8.0, 10.0, 1, "killed"),
        ("t0001", "c", 13.0, 17.0, 1, "failed"),
        ("t0003", "a", 16.0, 18.0, 1, "stopped"),
    ]
    a = next(lane for lane in lanes(stints(history), history.run.elapsed) if lane.name == "a")
    assert (a.trials, a.epochs, a.busy) == (3, 4, 8.0)
    assert a.idle == [(5.0, 8.0), (10.0, 16.0), (18.0, 19.0)]


def test_curves_that_exploded_do_not_flatten_the_others() -> None:
    assert bounds([1.0, 2.0, 3.0], 1) == (None, 0)
    assert bounds([1.0] * 95 + [0.5, 0.4, 0.3, 0.2, 0.1], 1) == (None, 0), "nine in ten are the best: no range is left"
    ends, outside = bounds([1e9, *[1 + i / 100 for i in range(100)]], -1)
    assert ends is not None
    assert ends[1] < 3
    assert 1 <= outside < 15
