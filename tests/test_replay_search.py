"""`benchmarks/search.py` on tables small enough to follow by hand, one cell a method."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import curves_made
import numpy as np
import pytest

from benchmarks import warm
from benchmarks.replay import cells, ours
from benchmarks.replay.clock import Work, play
from benchmarks.replay.methods import METHODS
from benchmarks.replay.misleading import tasks as load_misleading
from benchmarks.replay.tables import Axis, Task, Unused, load, rows
from benchmarks.replay.trace import POINTS, Terms, Trace
from tuner.core.records import Record
from tuner.core.search.asker import Suggestion

NAN = math.nan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return curves_made.tiny(tmp_path)


@pytest.fixture
def larger(tmp_path: Path) -> Path:
    return curves_made.larger(tmp_path)


@pytest.fixture
def task(folder: Path) -> Task:
    return load(folder)[0]


def test_regret_by_hand(task: Task) -> None:
    assert task.epochs == 2
    assert [task.regret(value) for value in (2.0, 4.0, 3.0, 7.0)] == [0.0, 1.0, 0.5, 2.5]
    assert task.regret(None) == 3.5, "no value yet is what an untrained model has"
    assert task.guess == 9.0


def test_where_most_configs_have_no_value_the_worst_of_the_others_stands_for_the_median(task: Task) -> None:
    values = task.values.copy()
    values[[1, 4, 3]] = NAN
    assert dataclasses.replace(task, values=values).regret(3.0) == 0.5, "of 2 and 4, the worst that is left"


def test_what_came_after_a_nan_is_never_seen(task: Task) -> None:
    assert np.isnan(task.values[3]).all()
    assert task.losses[3] == math.inf


def test_a_suggestion_meets_the_nearest_config_on_the_log_axis_once(task: Task) -> None:
    unused = Unused(task)
    assert [unused.meet({"learning_rate": 2e-2, "layers": 2}) for _ in range(5)] == [2, 3, 1, 4, 0]
    with pytest.raises(LookupError):
        unused.meet({"learning_rate": 1e-2, "layers": 2})
    assert task.params(2) == {"learning_rate": 1e-2, "layers": 2}
    assert isinstance(task.params(2)["layers"], int)


def test_an_axis_is_logarithmic_where_its_configs_were_drawn_so() -> None:
    even = np.linspace(0.0, 1.0, 101)
    assert Axis.of("lr", 10 ** (4 * even - 5)).log
    assert Axis.of("batch_size", np.round(16 * 32**even)) == Axis("batch_size", 16.0, 512.0, log=True, whole=True)
    for column in (1e-5 + 0.1 * even, even, 1 - 10 ** (-3 * even - 0.01), np.ones(3)):
        assert not Axis.of("other", column).log


def test_a_file_without_curves_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    np.savez(tmp_path / "bad" / "b.npz", tasks=np.array(["one"]), hp_names=np.array(["lr"]), hp=np.ones((2, 1)))
    with pytest.raises(SystemExit, match=r"b\.npz: must hold valid_loss or val_accuracy, but got tasks, hp_names, hp"):
        load(tmp_path)


def test_regret_is_kept_at_the_points_of_the_budget(task: Task) -> None:
    trace = Trace(task, Terms(seed=0, budget=2))
    for value in (7.0, NAN, 3.0, 6.0):
        trace.saw(value)
    assert trace.over
    assert dict(zip(POINTS, trace.line("x")["regret"], strict=False)) == {0.5: 2.5, 1: 2.5, 1.5: 0.5, 2: 0.5}


def test_what_was_never_begun_is_told_apart(task: Task) -> None:
    trace = Trace(task, Terms(seed=0, budget=1.5))
    for row, value in ((4, 7.0), (0, 5.0), (3, NAN)):
        trace.began(task.losses[row])
        trace.saw(value)
    line = trace.line("x")
    assert (line["regret"], line["missed"], line["suggestions"]) == ([2.5, 1.5, 1.5], [2.5, 1.0, 1.0], 3)


def test_where_curves_have_a_formula_a_suggestion_runs_as_itself() -> None:
    plateau = next(task for task in load_misleading() if task.name == "plateau")
    drawn = rows(plateau)
    params = [{axis.name: place for axis in plateau.axes} for place in (0.25, 0.5, 0.25)]
    assert [drawn.meet(one) for one in params] == [0, 1, 2] and drawn.params(1) == params[1]
    first, second, again = ([drawn.value(row, epoch) for epoch in (1, 20, 50)] for row in range(3))
    assert first == again != second, "and has the same curve each time"
    assert drawn.loss(0) <= first[-1] and plateau.regret(-1.0) == 0
    table = rows(plateau, on_table=True)
    assert table.params(table.meet(plateau.params(7))) == plateau.params(7)
    assert [table.value(7, epoch) for epoch in (1, 50)] == [drawn_again(plateau, epoch) for epoch in (1, 50)]


def test_a_smooth_task_goes_through_the_recorded_curves_and_never_beyond_their_best(larger: Path) -> None:
    recorded, *_, task = load(larger, smooth=True)
    assert [one.family for one in load(larger, ["made-smooth"])] == ["made-smooth"], "where it is named"
    assert not [one for one in load(larger) if one.family == "made-smooth"], "else they are left out"
    assert (recorded.family, task.family) == ("made", "made-smooth") and task.formula is not None
    np.testing.assert_allclose(task.formula(task.points), recorded.values, rtol=1e-6)
    between = task.formula(np.random.default_rng(0).random((300, 2)))
    assert np.nanmin(between) >= np.nanmin(recorded.values)
    assert 0.02 < np.isnan(between[:, -1]).mean() < 0.3, "some diverge, as those beside them do"
    assert len(np.unique(between[:, 0])) > 200, "what is suggested runs as itself"
    todo = cells.jobs(
        ["auto", "auto-table", "bound-arms"],
        [recorded, task],
        1,
        {"budget": 5, "workers": 4, "seconds": False},
        larger / "kept",
    )
    assert [job["method"] for job in todo if job["family"] == "made-smooth"] == ["auto"], "others know configs alone"
    assert len(todo) == 4


def drawn_again(task: Task, epoch: int) -> float:
    drawn = rows(task)
    return drawn.value(drawn.meet(task.params(7)), epoch)


class InOrder:
    """Suggests the configs in the order of the table; pauses nothing, stops nothing."""

    def __init__(self, task: Task) -> None:
        self.task, self.count = task, 0
        self.heard: list[tuple[str, int, float, bool]] = []

    def next(self) -> Work | None:
        self.count += 1
        return Work(str(self.count), self.task.params((self.count - 1) % 5))

    def ran(self, trial: str, params: dict[str, float]) -> None:
        assert params == self.task.params(int(trial) - 1)

    def report(self, trial: str, epoch: int, value: float, ended: bool) -> str:
        self.heard.append((trial, epoch, value, ended))
        return "go"


def test_the_clock_by_hand(task: Task) -> None:
    """Two workers: a trial that diverges frees its own, and the last has nobody beside it."""
    peer = InOrder(task)
    trace = play(peer, task, Terms(seed=0, budget=50, workers=2))
    assert peer.heard == [
        ("1", 1, 5.0, False), ("2", 1, 3.0, False), ("1", 2, 4.0, False), ("2", 2, 9.0, True),
        ("3", 1, 2.0, False), ("4", 1, 9.0, True), ("3", 2, 6.0, False), ("5", 1, 7.0, False), ("5", 2, 8.0, False),
    ]  # fmt: skip
    assert (trace.suggestions, trace.reports, trace.clock, trace.idle) == (5, 9, 5.0, 1.0)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_plays_a_cell(name: str, larger: Path) -> None:
    method = METHODS[name]
    if reason := method.missing():
        pytest.skip(reason)
    task = load(larger)[0]
    if method.elsewhere:
        kept = larger / "kept"
        todo = cells.jobs([name], [task], 1, {"budget": 5, "workers": 4, "seconds": False}, kept)
        assert cells.play(todo, larger, 1, kept) == []
        line = cells.kept(kept)[0]
    else:
        line = method.run(task, Terms(seed=1, budget=5, workers=4)).line(name)
        again = method.run(task, Terms(seed=1, budget=5, workers=4)).line(name)
        assert {**again, "cpu": 0} == {**line, "cpu": 0}, "a seed fixes what happens"
    assert line["reports"] == 30 and line["idle"] == 0
    assert len(line["regret"]) == sum(point <= 5 for point in POINTS)
    assert line["regret"] == sorted(line["regret"], reverse=True)
    assert 0 <= line["regret"][-1] < line["regret"][0]


class Listed:
    """Suggests the candidates that it was given, the last one first."""

    def __init__(self, candidates: list[dict[str, float]]) -> None:
        self.candidates, self.observed = candidates, 0

    def observe(self, record: Record) -> None:
        self.observed += 1

    def ask(self, number: int) -> Suggestion:
        return Suggestion(self.candidates[-1 - number], {}, self.observed)


def test_a_method_can_choose_among_the_tables_own_configs(larger: Path) -> None:
    task, terms = load(larger)[0], Terms(seed=0, budget=3, workers=2)
    spec = ours.experiment(task, terms, {"search": {"kind": "tpe"}, "scheduler": {"kind": "none"}})
    replay = ours.Replay(spec, task, terms, Listed(task.candidates()))
    replay.fill()
    while replay.busy and not replay.trace.over:
        replay.step()
    assert list(replay.rows.values()) == [39 - place for place in range(len(replay.rows))]
    assert all(trial.params == task.params(replay.rows[name]) for name, trial in replay.core.run.trials.items())
    with pytest.raises(ValueError, match="takes candidates, but got tpe"):
        ours.run(task, terms, {"search": {"kind": "tpe"}}, on_table=True)


def test_an_earlier_run_of_half_a_range_learns_nothing_of_the_half_with_the_best_config(larger: Path) -> None:
    (task,) = load(larger, ["bowl"])
    rate = task.axes[0].name
    rest, best = warm.half(task), task.params(int(task.losses.argmin()))
    assert 0 < rest.configs < task.configs
    rates = [rest.params(row)[rate] for row in range(rest.configs)]
    assert (max(rates) < best[rate]) or (min(rates) > best[rate])
    found = warm.learned(task, "half", task, seed=0)
    assert found and {trial["params"][rate] for trial in found} <= set(rates)


def test_lines_stay_small(task: Task) -> None:
    trace = Trace(task, Terms(seed=0, budget=50))
    for _ in range(100):
        trace.saw(2 + math.pi)
    assert len(json.dumps(trace.line("method"))) < 600
