"""What a run learns from earlier ones, and what is refused; runs are simulated and written as ledgers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.api import _create, _reload
from tuner.audit import audit
from tuner.core.records import Header, Report
from tuner.core.state import replay
from tuner.earlier import MOST, learn
from tuner.errors import UserError
from tuner.ledger import Ledger, read
from tuner.simulate import Curve, Simulation
from tuner.spec.experiment import Learned
from tuner.spec.load import Loaded, describe, load

YAML: dict[str, Any] = {
    "trainable": "train.py:train",
    "objective": {"metric": "loss", "mode": "min"},
    "budget": {"trials": 20, "epochs": 9},
    "space": {
        "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
        "width": {"dist": "choice", "values": [8, [16, 16], None]},
    },
    "search": {"kind": "random"},
    "fixed": {"batch": 64},
}
SOURCE = """
NEVER = object()

def train(trial, *, lr, width=8, batch=32, depth=2, dropout=-0.5, shape=NEVER):
    trial.track()

def other(trial, *, lr, width=8, batch=32, depth=2):
    trial.track()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tuner.runs.RUNS", tmp_path / "runs")
    monkeypatch.setattr("os.fdatasync", lambda file: None)  # no power is lost here
    return tmp_path


def loss(params: Mapping[str, Any], epoch: int) -> float:
    """Fall towards what lr alone decides; large rates diverge in the second epoch."""
    if params["lr"] > 0.7 and epoch > 1:
        return float("nan")
    return abs(params["lr"] - 0.1) + 1 / epoch


def loaded(**parts: Any) -> Loaded:
    from tuner.spec.load import from_mapping

    return from_mapping({**YAML, **parts}, Path.cwd())


def finished(name: str, by: Curve = loss, count: int | None = None, **parts: Any) -> None:
    """Simulate a run to its end, or to so many records, and write its ledger."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    with Ledger(folder) as ledger:
        for record in Simulation(loaded(**parts).experiment, by, slots=2).run(count):
            if isinstance(record, Report):
                record = replace(record, metrics={**record.metrics, "gain": 3 - record.metrics["loss"]})
            ledger.append(record)


def learned(*runs: str, **parts: Any) -> list[Learned]:
    return learn(loaded(start={"runs": list(runs)}, **parts)).experiment.start.learned


def trials_of(name: str) -> dict[str, Any]:
    return {trial.id: trial for trial in replay(read(Path("runs") / name)).trials.values()}


def test_all_is_learned_from_a_run_of_the_same_kind_and_its_best_are_tried_first() -> None:
    finished("A", scheduler={"kind": "none"})
    found, trials = learned("A"), trials_of("A")
    assert len(found) == len(trials) and {trial.trial for trial in found} == set(trials)
    assert any(trial.diverged for trial in found)
    for trial in found:
        reports = {report.epoch: report.metrics["loss"] for report in trials[trial.trial].reports}
        assert trial.params == trials[trial.trial].params and trial.comparable and trial.last_epoch == 9
        assert trial.epochs == ([1] if trial.diverged else [1, 2, 4, 8, 9])
        assert trial.values == [reports[epoch] for epoch in trial.epochs]
    best = sorted((min(trial.values), trial.trial) for trial in found)[:3]
    assert [trial.trial for trial in found if trial.first] == [name for _, name in best]


def test_values_above_the_new_last_epoch_are_left_out_and_fewer_epochs_are_known_as_such() -> None:
    finished("A")
    assert max(trial.epochs[-1] for trial in learned("A", budget={"trials": 9, "epochs": 5})) == 5
    longer = learned("A", budget={"trials": 9, "epochs": 27})
    assert max(trial.epochs[-1] for trial in longer) == 9 == longer[0].last_epoch


def test_what_lies_outside_a_changed_range_is_left_out() -> None:
    finished("A")
    space = {
        "lr": {"dist": "float", "low": 1e-3, "high": 0.05},
        "width": {"dist": "choice", "values": [[16, 16], 8, 5]},
    }
    found, trials = learned("A", space=space), trials_of("A")
    inside = {n for n, t in trials.items() if 1e-3 <= t.params["lr"] <= 0.05 and t.params["width"] is not None}
    assert {trial.trial for trial in found} == inside and 0 < len(inside) < len(trials)
    assert all(trial.comparable for trial in found)


def test_a_param_that_is_new_had_the_value_of_the_old_fixed_or_of_the_function() -> None:
    finished("A")
    space = {"lr": YAML["space"]["lr"], "batch": {"dist": "int", "low": 16, "high": 64},
             "depth": {"dist": "float", "low": 1.0, "high": 4.0}}  # fmt: skip
    found = learned("A", space=space, fixed={"width": 8})
    assert len(found) == 20 and all(trial.comparable for trial in found), "width is settled now"
    assert {(trial.params["batch"], trial.params["depth"]) for trial in found} == {(64, 2.0)}
    assert set(found[0].params) == {"lr", "batch", "depth"}


def test_a_condition_that_did_not_hold_left_the_default() -> None:
    when = {"dist": "int", "low": 1, "high": 4, "when": {"width": 8}}
    finished("A", space={**YAML["space"], "depth": when})
    found = learned("A", space={**YAML["space"], "depth": {**when, "when": {}}})
    drawn = {name: trial.params.get("depth", 2) for name, trial in trials_of("A").items()}
    assert {trial.trial: trial.params["depth"] for trial in found} == drawn
    assert any(trial.params["width"] != 8 for trial in found)


@pytest.mark.parametrize(
    ("parts", "comparable"),
    [
        ({}, True),
        ({"fixed": {"batch": 32}}, False),
        ({"fixed": {}}, False),
        ({"fixed": {"batch": 64, "depth": 2}}, True),
        ({"fixed": {"batch": 64, "depth": 3}}, False),
        ({"trainable": "train.py:other"}, False),
        ({"trainable": "train:train"}, True),
    ],
)
def test_values_are_comparable_where_function_and_fixed_params_are_the_same(
    parts: dict[str, Any], comparable: bool
) -> None:
    finished("A")
    assert {trial.comparable for trial in learned("A", **parts)} == {comparable}


def test_another_objective_is_read_from_what_was_reported() -> None:
    finished("A")
    found, usual = (learned("A", objective=objective) for objective in (
        {"metric": "gain", "mode": "max"}, {"metric": "loss", "mode": "min"}
    ))  # fmt: skip
    assert [trial.trial for trial in found if trial.first] == [trial.trial for trial in usual if trial.first]
    assert [3 - value for value in found[0].values] == pytest.approx(usual[0].values)
    with pytest.raises(UserError, match="must be a run whose trials reported acc, but got A, which optimized loss"):
        learned("A", objective={"metric": "acc", "mode": "max"})


def test_a_run_without_reports_says_nothing() -> None:
    finished("A", count=4)
    with pytest.raises(UserError, match="must be a run whose trials reported loss, but got A, where none has reported"):
        learned("A")


def test_several_runs_take_turns_and_nothing_is_tried_twice() -> None:
    for seed, name in enumerate("ABCD"):
        finished(name, seed=seed, budget={"trials": 50, "epochs": 2})
    shutil.copytree("runs/A", "runs/twin")
    found = learned("A", "twin", "B", "C", "D")
    first = [trial for trial in found if trial.first]
    assert [trial.run for trial in first] == ["A", "B", "C", "D", "A"]
    assert len({str(trial.params) for trial in first}) == 5, "the twin's best is known by then"
    assert MOST - 5 <= len(found) <= MOST + 5
    of_a = [trial for trial in found if trial.run == "A"]
    values = sorted(min(trial.values) for trial in of_a)
    everything = sorted(-trial.score for trial in trials_of("A").values())
    assert len(values) == 40 and values[:20] == everything[:20], "half of them are the best"
    assert values[20] == everything[20] and values[-1] == everything[-2], "half lie evenly among the others"


def test_the_run_does_not_need_the_earlier_one_any_more(folder: Path) -> None:
    finished("A")
    ready = learn(loaded(start={"runs": ["A"], "points": [{"lr": 0.5}]}, search={"kind": "tpe"}))
    assert describe(ready).endswith("asha + tpe, min loss, from 1 start point and 20 trials of A")
    assert learn(ready) is ready
    _create(folder / "runs" / "B", ready)
    shutil.rmtree("runs/A")
    again = load("runs/B/experiment.yaml")
    assert again.experiment.start == ready.experiment.start and learn(again) is again
    state = replay(read(Path("runs/B")))
    assert state.spec == ready.experiment == _reload(folder / "runs" / "B", state, ()).experiment
    records = Simulation(ready.experiment, loss, slots=2).run()
    assert isinstance(records[0], Header)
    found = audit(records, {})
    assert not found.difference and found.decided > 20
    tried = [trial.params for trial in replay(records).trials.values()]
    assert tried[0]["lr"] == 0.5
    assert tried[1:4] == [trial.params for trial in ready.experiment.start.tried_first]


@pytest.mark.parametrize(("change", "is_new"), [
    ([], False), (["budget.trials=30"], False), (["start.runs=[B]"], True), (["start.runs=[]"], True),
    (["budget.epochs=5"], True), (["fixed.batch=32"], True), (["space.lr.high=0.5"], True),
    (["objective={metric: gain, mode: max}"], True),
])  # fmt: skip
def test_a_run_of_a_runs_own_file_learns_anew_where_that_hangs_on_what_was_changed(
    folder: Path, change: list[str], is_new: bool
) -> None:
    finished("A")
    finished("B", seed=1)
    _create(folder / "runs" / "C", learn(loaded(start={"runs": ["A"]})))
    again = load("runs/C/experiment.yaml", change)
    start = learn(again).experiment.start
    assert (start.learned != again.experiment.start.learned) == is_new
    assert {trial.run for trial in start.learned} == set(start.runs)
    if change == ["objective={metric: gain, mode: max}"]:
        assert max(start.learned[0].values) > 2


@pytest.mark.parametrize("params", [{"lr": 77.0, "width": 8}, {"lr": "oops", "width": 8}, {"rate": 0.1, "width": 8}])
def test_what_was_learned_but_does_not_lie_in_the_space_is_learned_anew(params: dict[str, Any]) -> None:
    finished("A")
    right = learn(loaded(start={"runs": ["A"]})).experiment.start
    wrong = right.model_dump()
    wrong["learned"][3]["params"] = params
    assert learn(loaded(start=wrong)).experiment.start == right
    shutil.rmtree("runs/A")
    with pytest.raises(UserError, match=r"none yet\. What start\.learned holds was learned for other settings\."):
        learn(loaded(start=wrong))


def test_a_file_of_an_earlier_version_is_taken_as_it_is() -> None:
    finished("A")
    old = loaded(start={**learn(loaded(start={"runs": ["A"]})).experiment.start.model_dump(), "learned_for": ""})
    assert learn(old) is old


def test_what_broke_the_constraints_of_that_run_is_learned_from() -> None:
    finished("A", lambda params, epoch: {"loss": loss(params, epoch), "size": params["lr"]},
             constraints={"size": "<= 0.05"}, scheduler={"kind": "none"})  # fmt: skip
    trials = trials_of("A")
    assert {trial.outcome for trial in trials.values()} == {"infeasible", "finished", "diverged"}
    found = learned("A")
    assert {trial.trial for trial in found} == set(trials)
    assert trials[found[0].trial].outcome == "infeasible" and not any(trial.diverged for trial in found if trial.first)


def test_what_cannot_be_learned_from_is_said_at_once() -> None:
    finished("A")
    finished("swapped", objective={"metric": "loss", "mode": "max"})
    finished("population", scheduler={"kind": "pbt"})
    space = {"lr": {"dist": "float", "low": 2.0, "high": 3.0}}
    with pytest.raises(UserError) as raised:
        learned("a", "swapped", "population", "A", space=space)
    assert str(raised.value).splitlines() == [
        "spec: start.runs.0: must be a run's folder, or its name under runs/, but got a. "
        "There is A, population, swapped.",
        "spec: start.runs.1: must be a run with objective.mode min, but got swapped, whose mode is max. "
        "Correct the mode, or remove the run.",
        "spec: start.runs.2: must be a run whose trials keep their params, but got population, whose "
        "scheduler.kind is pbt. Give its best params as start.points.",
        "spec: start.runs.3: must be a run with a trial that lies in this space, but got A, where none of 20 does "
        "(outside: lr of 20). Widen the range, or remove the run.",
    ]


def test_a_run_is_named_once() -> None:
    finished("A")
    with pytest.raises(UserError, match=r"start\.runs\.1: must be a run that is named once, but got runs/A again"):
        learned("A", "runs/A")


def test_only_the_best_params_are_said_to_be_learned_where_the_search_takes_no_more() -> None:
    finished("A")
    told = {kind: describe(learn(loaded(start={"runs": ["A"]}, search={"kind": kind}))) for kind in ("gp", "random")}
    assert told["gp"].endswith("from 20 trials of A") and told["random"].endswith("from the best params of A")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shape", "must be a run that tells the value of shape, but got A, which had no such parameter, and the "
                  "function has no plain default for it. Give shape the default that it had then."),
        ("dropout", r"where none of 20 does \(outside: dropout of 20\)"),
    ],
)  # fmt: skip
def test_a_new_param_whose_value_was_another_or_is_not_known_leaves_nothing(name: str, why: str) -> None:
    finished("A")
    with pytest.raises(UserError, match=why):
        learned("A", space={**YAML["space"], name: {"dist": "float", "low": 0.0, "high": 0.5}})
