"""What is told of several objectives and of constraints: tables, summary, page, journal."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from rich.console import Console

from tuner.core.state import RunState
from tuner.engine.keep import needed
from tuner.ledger import read
from tuner.outputs import front, report, results
from tuner.outputs.page.history import History
from tuner.outputs.page.page import page
from tuner.outputs.study import Study
from tuner.outputs.why import story
from tuner.trial import checkpoint as checkpoints

from .pages_made import figures
from .runs_made import by_hand, experiment, reported, shown, simulated, suggested
from .test_outputs_study import opened

GOALS = [{"metric": "accuracy", "mode": "max"}, {"metric": "latency", "mode": "min"}]
PARTS: dict[str, Any] = {"objective": GOALS, "constraints": {"memory": "<= 0.8"}}


def trade(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
    x = params["x"]
    return {"accuracy": x * (1 - 0.5**epoch), "latency": x * x, "memory": x}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = experiment(**PARTS, scheduler={"kind": "asha", "by": "nondomination"}, seed=3)
    return simulated(tmp_path_factory.mktemp("front") / "run", spec, trade)


def printed(run: RunState) -> str:
    text = io.StringIO()
    report.report(run, Console(file=text, width=120))
    return text.getvalue()


def test_the_leaderboard_is_sorted_by_front_then_by_the_first_objective(folder: Path) -> None:
    run = results.read_state(folder)
    rows = results.leaderboard(run)
    feasible = [row for row in rows if not row.breaks]
    assert 3 <= len(feasible) < len(rows)
    assert [(row.front, -(row.value or 0)) for row in feasible] == sorted(
        (row.front or 0, -(row.value or 0)) for row in feasible
    )
    assert {row.trial for row in feasible if row.front == 1} == {best.trial for best in run.front}
    over = [row.metrics["memory"] for row in rows if row.breaks]
    assert over == sorted(over) and over[0] > 0.8, "behind them those that break a constraint, by how much"
    assert rows[-1].breaks == f"memory {over[-1]:.6g} breaks memory <= 0.8"


def test_the_summary_has_the_front_and_what_is_in_best(folder: Path) -> None:
    run = results.read_state(folder)
    assert run.chosen is not None and run.chosen.checkpoint is not None
    checkpoints.save(folder / run.chosen.checkpoint, {}, kinds={})
    results.write(folder, run, "finished")
    facts = json.loads((folder / "summary.json").read_text())
    assert [one["values"]["accuracy"] for one in facts["front"]] == sorted(
        (best.values["accuracy"] for best in run.front), reverse=True
    )
    assert facts["best"]["values"] == run.chosen.values
    assert (facts["best"]["trial"], facts["best"]["value"]) == (run.chosen.trial, run.chosen.values["accuracy"])
    assert facts["trials"]["infeasible"] + facts["trials"]["stopped"] + facts["trials"]["finished"] == 12
    table = pd.read_csv(folder / "leaderboard.csv")
    assert list(table) == [
        "trial", "value", "epoch", "epochs", "state", "reason", "front", "breaks", "latency", "memory", "x",
    ]  # fmt: skip
    assert table["breaks"].notna().sum() == sum(trial.violation > 0 for trial in run.trials.values())
    assert list(results.Result(folder).table()) == list(table)
    assert json.loads((folder / "best" / "manifest.json").read_text())["values"] == run.chosen.values
    card = (folder / "best" / "README.md").read_text()
    assert f"| latency (min) | {run.chosen.values['latency']:.6g} |" in card and "of a Pareto front of" in card


def test_text_has_the_front_as_a_table(folder: Path) -> None:
    run = results.read_state(folder)
    text = printed(run)
    assert run.chosen is not None
    assert f"In best/ is {run.chosen.trial} at epoch {run.chosen.epoch}: accuracy {run.chosen.value:.6g}, " in text
    assert f"Pareto front, max accuracy, min latency: {len(run.front)} report" in text
    assert "✗" in text, "a value that breaks its limit is marked"
    assert all(line.cell_len <= 60 for line in [*front.lines(run, 60), *report.leaders_text(run, 60, 10)])
    told = [what for _, what in story(read(folder), run.front[0].trial)]
    assert any("accuracy" in what and "latency" in what for what in told)


def test_the_page_draws_the_front(folder: Path) -> None:
    run, text = results.read_state(folder), page(History(folder))
    assert "could not be made" not in text
    assert 'id="front"' in text
    drawn = next(f for f in figures(text) if f["layout"].get("xaxis", {}).get("title", {}).get("text") == "accuracy")
    points = {trace["marker"]["color"]: list(zip(trace["x"], trace["y"], strict=True)) for trace in drawn["data"]}
    assert points["@best"] == [
        (float(f"{best.values['accuracy']:.6g}"), float(f"{best.values['latency']:.6g}")) for best in run.front
    ]
    assert len(points["@infeasible"]) == sum(trial.violation > 0 for trial in run.trials.values())


def test_optuna_knows_the_directions_and_the_constraints(folder: Path) -> None:
    run = shown(folder, Study(folder))
    study = opened(folder)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "latency"]
    for trial, told in zip(run.trials.values(), study.trials, strict=True):
        assert trial.best is not None
        assert told.values == [trial.best.metrics["accuracy"], trial.best.metrics["latency"]]
        assert (told.constraints["memory <= 0.8"] > 0) == (trial.violation > 0)
        assert told.state == optuna.trial.TrialState.PRUNED or trial.outcome in ("finished", "infeasible")


def test_where_nothing_keeps_the_constraints_the_nearest_is_named(tmp_path: Path) -> None:
    spec = experiment(constraints={"memory": "<= 0.8"})
    records = [suggested("t0000", x=0.1), suggested("t0001", x=0.2)]
    records += [reported("t0000", 1, score=0.5, memory=2.0), reported("t0001", 1, score=0.1, memory=1.0)]  # type: ignore[list-item]
    run = shown(by_hand(spec, *records))
    said = "No trial keeps the constraints. The nearest is t0001 at epoch 1: memory 1 breaks memory <= 0.8."
    assert report.best_line(run) == front.nothing(run) == said
    assert results.summary(run, "")["best"] is None


def test_checkpoints_of_the_front_are_kept(folder: Path) -> None:
    run = results.read_state(folder)
    kept = {path for trial in run.trials.values() for path in needed(run, trial)}
    assert {best.checkpoint for best in run.front} <= kept
    dominated = [trial for trial in run.trials.values() if trial.outcome == "stopped"]
    on_front = {best.trial for best in run.front}
    assert all(not needed(run, trial) for trial in dominated if trial.id not in on_front)
