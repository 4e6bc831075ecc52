"""A run as text, good at 80 columns."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.cells import cell_len

from tuner.core.lines import from_json
from tuner.outputs import report
from tuner.outputs.console import console
from tuner.outputs.events import Events
from tuner.simulate import Simulation

from .runs_made import MIXED, by_hand, curve, experiment, failed, reported, shown, simulated, suggested


def printed(run: object, monkeypatch: pytest.MonkeyPatch, width: int = 80) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    report.report(run, console(stream))  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    run = shown(by_hand(
        experiment(),
        suggested("t0000", x=0.1),
        *[reported("t0000", i, score=i / 8) for i in range(1, 8)],
        reported("t0000", 8, end="finished", reason="epoch 8 is the last", score=1.0),
        suggested("t0001", x=0.2),
        reported("t0001", 1, score=0.5),
        reported("t0001", 2, end="diverged", reason="score is nan", score=math.nan),
        *[suggested(f"t000{i}", x=0.3) for i in range(2, 7)],
        *[failed(f"t000{i}", "ValueError: [x]\nmore") for i in range(2, 7)],
    ))  # fmt: skip
    assert printed(run, monkeypatch) == [
        "hand: 7 trials (1 finished, 1 diverged, 5 failed), 10 epochs in 0:00",
        "Best score 1: t0000 at epoch 8  (x=0.1)",
        "",
        "trial  state       score  at epoch  epochs  params",
        "t0000  finished   1.0000         8       8  x=0.1",
        "t0001  diverged  0.50000         1       2  x=0.2",
        *[f"t000{i}  failed                            0  x=0.3" for i in range(2, 7)],
        "",
        "score by epoch, ▁ = 0.375 to █ = 1",
        "trial  curve       last  why it ended",
        "t0000  ▁▁▁▂▄▅▇█  1.0000  epoch 8 is the last",
        "t0001  ▂×           nan  score is nan",
        "",
        "t0002, t0003, t0004 and 2 more failed: ValueError: [x]",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_it_fits(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    metric = "validation/" * 5 + "loss"
    spec = experiment(space=MIXED, objective={"metric": metric, "mode": "min"}, budget={"trials": 30, "epochs": 100})
    lines = printed(shown(Simulation(spec, curve, 2).run()), monkeypatch, width)
    assert all(cell_len(line) <= width for line in lines[1:])
    assert any(set(line) & set(report.BARS) for line in lines[8:])


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_has_nothing_yet(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    run = shown(by_hand(experiment(), *([suggested("t0000", x=0.5)] if begun else [])))
    lines = printed(run, monkeypatch)
    assert "No trial reported a finite value." in lines
    assert any("t0000  running" in line for line in lines) == begun


def test_only_values_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    run = shown(by_hand(experiment(), suggested("t0000", x=0.5), reported("t0000", 1, score=math.inf)))
    assert any("×" in line for line in printed(run, monkeypatch))


def test_sparklines() -> None:
    assert report.sparkline([0, 0.5, 1, math.nan, -5, 7], 0, 1) == "▁▅█×▁█"
    assert report.sparkline([2, 2], 2, 2) == "▅▅"


def test_without_a_terminal_the_leaderboard_is_wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    spec = experiment(space={**MIXED, "weight_decay": {"dist": "float", "low": 0.0, "high": 1.0}})
    stream = io.StringIO()
    report.leaders(shown(simulated(tmp_path / "run", spec)), console(stream))
    assert max(len(line) for line in stream.getvalue().splitlines()) > 80


def test_events_are_one_record_a_line() -> None:
    stream, records = io.StringIO(), Simulation(experiment(), curve, 2).run()
    shown(records, Events(stream))
    lines = stream.getvalue().splitlines()
    assert [from_json(line) for line in lines] == records
    assert all(json.loads(line)["kind"] for line in lines)
