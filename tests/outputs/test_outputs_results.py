"""The leaderboard, the summary, and the files of the best."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from rich.console import Console

from tuner.core.records import OUTCOMES, Report, Suggested
from tuner.core.search.kinds import make_asker
from tuner.core.state import RunState
from tuner.outputs import card, results
from tuner.outputs.farewell import farewell
from tuner.outputs.page.history import History
from tuner.outputs.page.page import header
from tuner.outputs.results import Result
from tuner.spec.load import load
from tuner.trial import checkpoint as checkpoints

from .runs_made import (
    MIXED,
    by_hand,
    curve,
    experiment,
    failed,
    reported,
    shown,
    simulated,
    suggested,
    trainable,
    written,
)

STEPPED: dict[str, Any] = {
    "dropout": {"dist": "float", "low": 0.1, "high": 0.65, "step": 0.1},
    "layers": {"dist": "int", "low": 1, "high": 7, "step": 2},
    "widths": {"dist": "choice", "values": [[8, 16], None, "1e-4", "no", 2]},
}
NUMBERS: dict[str, Any] = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "momentum": {"dist": "float", "low": 0.5, "high": 0.99},
    "layers": {"dist": "int", "low": 1, "high": 8},
}
SPACES: dict[str, dict[str, Any]] = {
    "random": {"space": MIXED},
    "grid": {"space": STEPPED, "search": {"kind": "grid"}},
    "grid at its bound": {
        "space": {"x": {"dist": "float", "low": 0.1, "high": 0.7, "step": 0.1}}, "search": {"kind": "grid"},
    },
    "qmc": {"space": STEPPED, "search": {"kind": "qmc"}},
    "cmaes": {"space": NUMBERS, "search": {"kind": "cmaes"}},
    "tpe": {"space": MIXED, "search": {"kind": "tpe", "startup": 2}, "scheduler": {"kind": "asha"}},
    "pbt": {"space": NUMBERS, "scheduler": {"kind": "pbt", "interval_epochs": 2}, "budget": {"trials": 6, "epochs": 9}},
}  # fmt: skip


def mixed_run(folder: Path, mode: str = "max") -> RunState:
    """A run with every kind of end."""
    spec = experiment(objective={"metric": "score", "mode": mode})
    records = by_hand(
        spec,
        suggested("t0000", x=0.1),
        reported("t0000", 1, end="diverged", score=math.nan),
        suggested("t0001", x=0.2),
        reported("t0001", 1, score=0.5),
        reported("t0001", 2, score=0.25),
        reported("t0001", 3, end="finished", score=0.5),
        suggested("t0002", x=0.3),
        failed("t0002", 'ValueError: a, "b"\nc'),
        suggested("t0003", x=0.4),
        reported("t0003", 1, end="stopped", score=0.75),
        suggested("t0004", x=0.5),
        reported("t0004", 1, score=-math.inf),
    )
    run = shown(written(folder, records))
    results.write(folder, run, "finished")
    return run


@pytest.mark.parametrize(("mode", "order"), [("max", ["t0003", "t0001"]), ("min", ["t0001", "t0003"])])
def test_the_leaderboard_has_the_best_first_and_those_without_a_value_last(
    tmp_path: Path, mode: str, order: list[str]
) -> None:
    rows = results.leaderboard(mixed_run(tmp_path / "run", mode))
    assert [row.trial for row in rows] == [*order, "t0000", "t0002", "t0004"]
    found = {row.trial: (row.value, row.epoch, row.epochs, row.state) for row in rows}
    assert found == {
        "t0000": (None, 0, 1, "diverged"),
        "t0001": (0.5, 1, 3, "finished") if mode == "max" else (0.25, 2, 3, "finished"),
        "t0002": (None, 0, 0, "failed"),
        "t0003": (0.75, 1, 1, "stopped"),
        "t0004": (None, 0, 1, "running"),
    }


def test_the_summary_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    mixed_run(tmp_path / "run")
    text = (tmp_path / "run" / "summary.json").read_text()
    facts = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert list(facts) == ["name", "state", "trials", "epochs", "seconds", "best", "versions"]
    assert (facts["name"], facts["state"], facts["epochs"]) == ("run", "finished", 6)
    counts = {"finished": 1, "stopped": 1, "diverged": 1, "failed": 1, "running": 1}
    assert facts["trials"] == {**dict.fromkeys(OUTCOMES, 0), **counts}
    assert facts["best"] == {"trial": "t0003", "value": 0.75, "epoch": 1, "params": {"x": 0.4}}
    assert facts["versions"] == {"python": "3"}


def test_a_run_without_any_value(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", by_hand(experiment(), suggested("t0000", x=0.1), failed("t0000", "no")))
    results.write(folder, shown(folder), "failed")
    result = Result(folder)
    assert Result(str(folder)).summary == result.summary
    assert result.summary["best"] is None
    assert result.best is None
    assert result.model is None
    assert list(result.table()["trial"]) == ["t0000"]
    assert list(result.curves().columns) == ["trial", "generation", "epoch"]
    assert not (folder / "best").exists()


def test_the_test_split_stands_in_the_summary_without_nan_and_for_its_own_best_alone(tmp_path: Path) -> None:
    mixed_run(tmp_path / "run")
    facts = {"trial": "t0003", "epoch": 1, "checkpoint": None, "metrics": {"loss": math.nan, "accuracy": 0.5}}
    for checkpoint, found in ((None, {"loss": "nan", "accuracy": 0.5}), ("trials/t0001/e1", None)):
        (tmp_path / "run" / "best" / "test.json").write_text(json.dumps({**facts, "checkpoint": checkpoint}))
        results.write(tmp_path / "run", results.read_state(tmp_path / "run"), "finished")
        assert Result(tmp_path / "run").summary.get("test") == found
        assert ("accuracy, on the test split" in (tmp_path / "run" / "best" / "README.md").read_text()) == bool(found)
        assert ("On the test split" in header(History(tmp_path / "run"))) == bool(found)


def test_pandas_reads_the_leaderboard(tmp_path: Path) -> None:
    spec = experiment(space={**MIXED, "epoch": {"dist": "int", "low": 1, "high": 9}})
    folder = simulated(tmp_path / "run", spec)
    run = shown(folder)
    results.write(folder, run, "finished")
    table = pd.read_csv(folder / "leaderboard.csv", float_precision="round_trip").set_index("trial")
    rows = results.leaderboard(run)
    assert list(table.index) == [row.trial for row in rows]
    for row in rows:
        line = table.loc[row.trial]
        assert (line["value"], line["epoch"], line["state"]) == (row.value, row.epoch, row.state)
        assert (line["lr"], line["params.epoch"]) == (row.params["lr"], row.params["epoch"])
        assert ("momentum" in row.params) == (not pd.isna(line["momentum"]))
        assert pd.isna(line["widths"]) if row.params["widths"] is None else (
            json.loads(line["widths"]) == row.params["widths"]
        )  # fmt: skip


def test_tables_from_python(tmp_path: Path) -> None:
    run = mixed_run(tmp_path / "run")
    result = Result(tmp_path / "run")
    table, curves = result.table(), result.curves()
    assert list(table.columns) == ["trial", "value", "epoch", "epochs", "state", "reason", "x"]
    assert list(table["x"]) == [row.params["x"] for row in results.leaderboard(run)]
    assert list(curves.columns) == ["trial", "generation", "epoch", "score"]
    assert list(curves[curves["trial"] == "t0001"]["score"]) == [0.5, 0.25, 0.5]
    assert "5 trials" in repr(result)


def highest(params: Mapping[str, Any], epoch: int) -> float:
    return float(params["x"])


@pytest.mark.parametrize("kind", SPACES)
def test_the_best_params_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The file loads from any folder, and its one trial has exactly the params of the best."""
    home = tmp_path / "home"
    trainable(home, SPACES[kind]["space"])
    spec = experiment(**{"seed": 3, "budget": {"trials": 12, "epochs": 9}, **SPACES[kind]})
    folder = simulated(home / "run", spec, highest if "bound" in kind else curve, slots=6)
    run = shown(folder)
    monkeypatch.chdir(home)
    results.write(folder, run, "finished")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    again = load(folder / "best" / "params.yaml").experiment
    assert run.best is not None
    first = make_asker(again).ask(0).params
    assert first == run.best.params
    assert {name: type(value) for name, value in first.items()} == {
        name: type(value) for name, value in run.best.params.items()
    }
    assert (again.trials, again.budget.epochs, again.seed, again.space) == (1, 9, 3, spec.space)


def test_the_model_and_the_params_belong_together(tmp_path: Path) -> None:
    """The best value of all was not saved: `best/` holds the best that was, model and params."""
    records = by_hand(
        experiment(),
        suggested("t0000", x=0.1),
        replace(reported("t0000", 2, end="finished", score=0.5), checkpoint="trials/t0000/checkpoints/a"),
        suggested("t0001", x=0.2),
        reported("t0001", 1, score=0.75),
    )
    folder = written(tmp_path / "run", records)
    trainable(tmp_path, ["x"])
    where = folder / "trials/t0000/checkpoints/a"
    weights = torch.nn.Linear(2, 1).state_dict()
    kinds = {"model": "module", "optimizer": "optimizer"}
    checkpoints.save(where, {"model": weights, "optimizer": {"lr": 0.1}}, kinds=kinds)
    (folder / "best").mkdir()
    (folder / "best" / "encoder.pt").write_text("of a best that has been beaten")
    run = shown(folder)
    results.write(folder, run, "finished")
    names = ["README.md", "manifest.json", "model.pt", "params.yaml"]
    assert sorted(path.name for path in (folder / "best").iterdir()) == names
    model = Result(folder).model
    assert model is not None
    read = torch.load(model, weights_only=True)
    assert all(torch.equal(read[name], value) for name, value in weights.items())
    assert load(folder / "best" / "params.yaml").experiment.start.points == [{"x": 0.1}]
    manifest = json.loads((folder / "best" / "manifest.json").read_text())
    manifest["tracked"]["critic"] = {**manifest["tracked"]["model"], "file": "critic.pt"}
    (folder / "best" / "manifest.json").write_text(json.dumps(manifest))
    assert Result(folder).model is None, "it is not told which of two is meant"
    assert "t0001 reached 0.75" in (folder / "best" / "params.yaml").read_text()
    assert Result(folder).summary["best"]["trial"] == "t0001"


def test_a_best_that_was_not_saved_is_told_of_only_where_it_was_better(tmp_path: Path) -> None:
    saved = replace(reported("t0000", 2, end="finished", score=0.5), checkpoint="trials/t0000/checkpoints/a")
    for name, before, told in (("tie", 0.5, None), ("better", 0.75, 0.75)):
        records = by_hand(experiment(), suggested("t0000", x=0.1), reported("t0000", 1, score=before), saved)
        top = card.better_unsaved(shown(written(tmp_path / name, records)))
        assert (top and top.value) == told


def test_a_best_whose_checkpoint_lies_on_another_machine_is_not_one_that_tracks_nothing(tmp_path: Path) -> None:
    where = "trials/t0000/checkpoints/a"
    last = replace(reported("t0000", 1, end="finished", score=0.5), checkpoint=where)
    folder = written(tmp_path / "run", by_hand(experiment(), suggested("t0000", x=0.1), last))
    trainable(tmp_path, ["x"])

    def said() -> str:
        run = shown(folder)
        results.write(folder, run, "finished")
        console = Console(record=True, width=200)
        farewell(folder, run, console)
        return (folder / "best" / "README.md").read_text() + console.export_text()

    assert "no model: the checkpoint of the best cannot be read" in said()
    assert "none: its checkpoint cannot be read" in said()
    assert not (folder / "best" / "manifest.json").exists()
    checkpoints.save(folder / where, {"model": torch.nn.Linear(2, 1).state_dict()}, kinds={"model": "module"})
    assert "tuner.load_best(" in said()
    shutil.rmtree(folder / where)
    assert "tuner.load_best(" in said(), "what was copied earlier stays"


def test_what_a_function_saved_itself_is_that_of_the_best(tmp_path: Path) -> None:
    """As a function for Ray Tune does, which tracks nothing; files of an earlier best go."""
    where = "trials/t0000/checkpoints/a"
    last = replace(reported("t0000", 1, end="finished", score=0.5), checkpoint=where)
    folder = written(tmp_path / "run", by_hand(experiment(), suggested("t0000", x=0.1), last))
    trainable(tmp_path, ["x"])
    for own, text in ((tmp_path / "own", "new"), (folder / "best" / "files", "old")):
        own.mkdir(parents=True)
        (own / f"{text}.txt").write_text(text)
    checkpoints.save(folder / where, {}, tmp_path / "own", kinds={})
    run = shown(folder)
    results.write(folder, run, "finished")
    assert [path.name for path in (folder / "best" / "files").iterdir()] == ["new.txt"]
    assert "- `files/`: the checkpoint that the function itself reported" in (folder / "best" / "README.md").read_text()
    console = Console(record=True, width=200)
    farewell(folder, run, console)
    assert f"{folder / 'best' / 'files'}, the checkpoint that the function reported" in console.export_text()


def test_a_row_shows_the_params_of_its_best_epoch(tmp_path: Path) -> None:
    spec = experiment(**SPACES["pbt"])
    folder = simulated(tmp_path / "run", spec, curve, slots=6)
    run = shown(folder)
    assert any(trial.generation for trial in run.trials.values())
    trained: dict[tuple[str, int], dict[str, Any]] = {}
    params: dict[str, dict[str, Any]] = {}
    for record in results.read(folder):
        if isinstance(record, Suggested):
            params[record.trial] = record.params
        elif isinstance(record, Report):
            trained[record.trial, record.epoch] = params[record.trial]
            if record.decision.clone is not None:
                params[record.trial] = record.decision.clone.params
    later = [row for row in results.leaderboard(run) if (row.trial, row.epoch) in trained]
    first = later[0]
    assert first.params == trained[first.trial, first.epoch]
    assert run.best is not None
    assert first.params == run.best.params
