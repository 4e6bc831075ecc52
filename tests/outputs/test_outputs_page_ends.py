"""The page where runs go other ways than most: pauses, weights that come back, many members, a break, an interrupt."""

from __future__ import annotations

import io
import logging
import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from played import Played

from tuner import api
from tuner.core.records import Decision, Given, Lost, Promoted, Record, Session
from tuner.errors import RunFailed
from tuner.outputs import ending
from tuner.outputs.page import compare, population, searched, used, write
from tuner.outputs.page.history import History
from tuner.outputs.page.page import header

from .pages_made import PBT, at, figures, timed
from .runs_made import by_hand, cloned, experiment, reported, simulated, suggested, trainable, written

TWO = experiment(budget={"trials": 2, "epochs": 6}, scheduler={"kind": "pbt", "interval_epochs": 1})


def test_weights_that_came_back_to_their_own_trial_are_followed_to_their_beginning(tmp_path: Path) -> None:
    """t0001 goes on from t0000; before it reports again, t0000 goes on from what t0001 has: its own checkpoint."""
    first = replace(reported("t0000", 1, score=1.0), checkpoint="trials/t0000/checkpoints/g0e1")
    back = cloned("t0000", 2, 0, first, 0.3)
    assert back.decision.clone is not None
    clone = replace(back.decision.clone, donor="t0001")
    records = by_hand(
        TWO, suggested("t0000", x=0.1), suggested("t0001", x=0.2), first, cloned("t0001", 1, 0, first, 0.5),
        replace(back, decision=Decision(action="clone", clone=clone)),
        replace(reported("t0000", 2, score=1.5), generation=1),
    )  # fmt: skip
    history = History(written(tmp_path / "run", records))
    line = population._ancestors(history, list(population._pieces(history)))
    assert [(piece.trial, piece.generation, piece.end) for piece in line] == [
        ("t0000", 0, 1), ("t0001", 1, 1), ("t0000", 1, 2),
    ]  # fmt: skip


def test_many_members_and_clones_are_bounded_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(simulated(tmp_path / "run", experiment(**PBT)))
    pieces = list(population._pieces(history))
    assert sum(piece.clone is not None for piece in pieces) > 5
    monkeypatch.setattr(population, "MOST_MEMBERS", 6)
    monkeypatch.setattr(population, "MOST_ARROWS", 2)
    text = population.population(history)
    members = [f"t{i:04}" for i in range(6)]
    arrows = [p for p in pieces if p.clone and p.trial in members and p.clone.donor in members]
    assert "Only the first 6 of 8 members are drawn, here and in the schedules; " in text
    assert f"Of {len(arrows)} arrows 2 are drawn." in text
    tree, *schedules = figures(text)
    assert "annotations" not in tree["layout"]
    assert len(tree["data"][-1]["x"]) == 2 * 3
    assert tree["layout"]["yaxis"]["ticktext"] == members
    for figure in schedules:
        assert {name for name in figure["data"][0]["text"] if name} == set(members)


def test_the_shares_of_gpus_are_told_of_trials_that_go_on_too(tmp_path: Path) -> None:
    """What a trial is given is written down only where it differs from what it had."""

    def epoch(moment: float, trial: str, number: int, action: Any = "go") -> Record:
        report = reported(trial, number, score=0.1)
        return at(moment, replace(report, decision=Decision(action=action)), worker="w" + trial[-1], seconds=2.0)

    records = by_hand(
        experiment(), at(0, suggested("t0000", x=0.1)), at(0, Given(trial="t0000", cpus=1, gpus=0.5)),
        at(0, suggested("t0001", x=0.1)), at(0, Given(trial="t0001", cpus=1, gpus=0.25)),
        epoch(2, "t0000", 1, "pause"), epoch(2, "t0001", 1), at(3, Lost(trial="t0001", reason="killed")),
        at(4, Promoted(trial="t0000", reason="")), epoch(6, "t0000", 2), epoch(7, "t0001", 2),
        at(20, Session(attempt=2, host="h", pid=2, slots=2, versions={})), epoch(23, "t0000", 3),
    )  # fmt: skip
    records[1] = at(0, records[1])
    history = History(timed(tmp_path / "run", records))
    assert used._shares(history) == [
        (0, 0.75),
        (2, 0.25),
        (3, 0),
        (4, 0.5),
        (5, 0.75),
        (6, 0.25),
        (7, 0),
        (8, 0.5),
        (10, 0),
    ]


def test_a_section_of_a_comparison_that_breaks_does_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = write.read([simulated(tmp_path / name, experiment()) for name in ("a", "b")])
    runs[0].rows = cast(Any, None)
    text = compare.page(runs)
    assert "This section could not be made: TypeError(" in text
    assert '<section id="versions"><h2>Versions</h2>' in text


def test_paused_trials_are_counted_among_those_that_go_on(tmp_path: Path) -> None:
    paused = replace(reported("t0000", 1, score=0.1), decision=Decision(action="pause"))
    records = by_hand(experiment(), suggested("t0000", x=0.1), suggested("t0001", x=0.2), paused)
    assert "2 trials run or wait to go on, at most 10 are to come" in header(
        History(written(tmp_path / "run", records))
    )


def test_a_confirmation_that_goes_on_is_said(tmp_path: Path) -> None:
    played = Played(tmp_path, 1, budget={"trials": 2, "epochs": 1}, confirm={"top": 2, "seeds": 2})
    while not played.core.run.repeats:
        work = played.work()
        if not played.core.run.repeats:
            played.report(work, 1, work.params["x"])
    text = header(History(tmp_path))
    assert "The search is over, the run is not: confirming 2 trials: 0 of 4 repeats" in text
    assert "Not confirmed: it is not over." in text
    played.close()


def test_the_process_of_a_notebook_is_left_as_it_was(tmp_path: Path) -> None:
    history = History(simulated(tmp_path / "run", experiment()))
    before, level = list(warnings.filters), logging.getLogger("optuna").level
    for make in (searched.parallel, searched.importance, searched.slices):
        assert "<figure" in make(history) or make is searched.importance
    assert warnings.filters == before
    assert logging.getLogger("optuna").level == level


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the page take for ever, and let a test do something once it has begun."""
    hang, made = Event(), SimpleNamespace(then=lambda: None)

    def page(history: History) -> str:
        made.then()
        return str(hang.wait(60))

    monkeypatch.setattr(write.page, "page", page)
    yield made
    hang.set()


def test_an_interrupt_during_the_page_does_not_make_a_finished_run_an_interrupted_one(
    tmp_path: Path, hanging: SimpleNamespace
) -> None:
    folder, said = simulated(tmp_path / "run", experiment()), list[str]()
    hanging.then = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert ending.finish(folder, "finished", say=said.append).finished()
    assert said == [f"report.html is not waited for; make it with --report {folder}"]


def test_what_ended_a_run_is_not_kept_waiting_by_the_page(
    tmp_path: Path, hanging: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = simulated(tmp_path / "run", experiment())
    trainable(tmp_path, ["x"])
    loaded = api.load({**experiment().model_dump(exclude_none=True), "trainable": f"{tmp_path}/train.py:train"})
    monkeypatch.setattr(api, "LEAVE_SECONDS", 0.1)

    def engine(*words: object) -> None:
        raise RunFailed("every trial failed")

    monkeypatch.setattr(api, "_engine", engine)
    out = io.StringIO()
    with pytest.raises(RunFailed):
        api._drive_aside(folder, loaded, api.Options(), cast(Any, SimpleNamespace(out=out, err=out)), {}, ())
    assert "report.html is not waited for" in out.getvalue().replace("\n", " ")
    assert (folder / "summary.json").exists()
