"""The best again on fresh seeds, handed out by a live run: no Ray, no processes."""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from played import Played, experiment
from rich.console import Console

from tuner.core import confirm
from tuner.core.records import Repeated, Session
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.engine.ask import stop
from tuner.engine.evaluate import stint
from tuner.engine.follow import Observer
from tuner.engine.keep import Folder, Keeper
from tuner.errors import UserError
from tuner.ledger import read
from tuner.outputs import confirmed, results
from tuner.outputs.farewell import farewell
from tuner.outputs.forecast import epochs_left
from tuner.outputs.live import Show
from tuner.outputs.loggers.uploader import Uploader
from tuner.outputs.page.history import History
from tuner.outputs.page.page import page
from tuner.outputs.report import report
from tuner.outputs.study import NAME, Study
from tuner.outputs.tensorboard import TensorBoard
from tuner.outputs.why import why
from tuner.plan import plan
from tuner.runs import find_trial
from tuner.spec.extension import changes, told
from tuner.trial import Assignment

PARTS: dict[str, Any] = {"budget": {"trials": 5, "epochs": 2}, "confirm": {"top": 2, "seeds": 4}}


def noisy(work: Assignment, epoch: int) -> float:
    return float(work.params["x"]) + 0.3 * random.Random(f"{work.seed} {work.params['x']} {epoch}").gauss(0, 1)


def test_repeats_are_handed_out_as_trials_with_a_seed_of_their_own(tmp_path: Path) -> None:
    played = Played(tmp_path, 2, **PARTS, scheduler={"kind": "asha", "reduction_factor": 2})
    searched = []
    while not played.core.run.repeats:
        work = played.work()
        if played.core.run.repeats:
            break
        searched.append(work)
        for epoch in (1, 2):
            if played.report(work, epoch, noisy(work, epoch)) == "stop":
                break
    other = played.work()
    first = played.core.run.trials[played.core.run.repeats[work.trial].of]
    assert work.trial == f"{first.id}-s1"
    assert work.params == {"batch_size": 64, **first.params}
    assert (work.save_at, work.judged_at, work.epochs) == (frozenset(), frozenset(), 2)
    assert work.seed == other.seed
    assert work.seed not in {one.seed for one in searched}


def test_killed_in_the_middle_of_a_confirmation_it_confirms_the_same_trial(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = Played(tmp_path / "whole", 1, **PARTS)
    whole.run(noisy)
    records = read(tmp_path / "whole")
    first = next(i for i, record in enumerate(records) if isinstance(record, Repeated))
    for cut in range(first + 1, len(records), 4):
        (folder := tmp_path / str(cut)).mkdir()
        lines = (tmp_path / "whole" / "ledger").read_bytes().splitlines(keepends=True)
        (folder / "ledger").write_bytes(b"".join(lines[:cut]))
        again = Played(folder, 2, **PARTS)
        again.run(noisy)
        assert again.core.run.finished()
        assert sum(isinstance(record, Session) for record in read(folder)) == 2
        values = [[(row.trial, row.mean, row.won) for row in confirmed.confirmed(run)]
                  for run in (whole.core.run, again.core.run)]  # fmt: skip
        assert values[0] == values[1]
        again.close()


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A run whose best in the search had a lucky seed; one repeat diverges."""
    folder = tmp_path_factory.mktemp("over")
    xs = [0.9, 0.8, 0.7, 0.6, 0.5]
    points = [{"x": x} for x in reversed(xs)]
    played = Played(
        folder, 2, budget={"trials": 5, "epochs": 2}, confirm={"top": 3, "seeds": 4}, start={"points": points}
    )

    def score(work: Assignment, epoch: int) -> float:
        x = work.params["x"]
        if "-" not in work.trial:
            return 3.0 if x == xs[1] else float(x)
        if x == xs[2] and work.trial.endswith("-s2") and epoch == 2:
            return math.nan
        return float(x) + 0.01 * random.Random(work.seed + epoch).random() * (2 if x == xs[0] else 1)

    played.run(score)
    state = RunState()
    observers: list[Observer] = [Keeper(Folder(folder)), TensorBoard(folder), Study(folder)]
    for record in read(folder):
        state.apply(record)
        for observer in observers:
            observer.see(record, state)
    for observer in observers:
        observer.close(state)
    results.write(folder, state, "finished")
    return played


def test_the_winner_is_the_result_and_the_best_of_the_search_stays_what_it_was(over: Played) -> None:
    run = over.core.run
    winner, chosen = confirm.winner(run), run.chosen
    assert winner is not None
    assert chosen is not None
    assert run.best is not None
    assert (run.best.value, winner.id) == (3.0, max(run.trials.values(), key=lambda trial: trial.params["x"]).id)
    assert run.best.trial != winner.id
    assert chosen.trial.startswith(f"{winner.id}-s")
    assert chosen.params == winner.params
    best = max(run.objective(report) for one in confirm.repeats_of(run, winner.id) for report in one.reports)
    assert chosen.value == best
    assert (over.folder / str(chosen.checkpoint)).is_dir()
    assert (over.folder / str(run.best.checkpoint)).is_dir()
    asked = stint(over.folder, run, chosen, "test")
    assert (asked.trial, asked.checkpoint) == (chosen.trial, chosen.checkpoint)
    assert asked.seed == run.repeats[chosen.trial].training_seed(0)


def said(show: Any) -> str:
    console = Console(width=150, record=True, file=io.StringIO())
    show(console)
    return console.export_text()


def test_the_farewell_and_the_report_say_who_won_and_how_much_too_good_the_others_looked(over: Played) -> None:
    run = over.core.run
    first, second, third = confirmed.confirmed(run)
    assert [row.won for row in (first, second, third)] == [True, False, False]
    assert second.search_value == 3.0
    assert second.optimism == pytest.approx(3.0 - (second.mean or 0.0))
    assert third.dropped == f"failed on 1 of 3 seeds, {first.trial} on 0"
    for text in (said(lambda console: farewell(over.folder, run, console)), said(partial(report, run))):
        assert f"Confirmed: {first.trial}, score {first.mean:.6g} ± " in text
        assert f"dropped: {third.dropped}" in text
        rows = [line.split()[0] for line in text.split("too good by")[1].splitlines()[1:4]]
        assert rows == [first.trial, second.trial, third.trial]


def test_the_files_hold_the_winner_and_the_leaderboard_the_search(over: Played) -> None:
    summary = json.loads((over.folder / "summary.json").read_text())
    first = confirmed.confirmed(over.core.run)[0]
    assert summary["confirmed"][0] == asdict(first)
    assert summary["best"]["value"] == 3.0
    assert sum(summary["trials"].values()) == 5
    assert (over.folder / "leaderboard.csv").read_text().count("\n") == 6
    params = (over.folder / "best" / "params.yaml").read_text()
    assert f"# It repeats {first.trial}, confirmed on 4 fresh seeds: mean {first.mean:.6g}.\n" in params
    again = yaml.safe_load(params)
    assert "confirm" not in again
    assert again["start"]["points"] == [over.core.run.trials[first.trial].params]


def test_the_card_tells_the_mean_and_the_manifest_the_seed_of_the_repeat(over: Played) -> None:
    first, chosen = confirmed.confirmed(over.core.run)[0], over.core.run.chosen
    assert chosen is not None
    card = (over.folder / "best" / "README.md").read_text()
    assert f"| score of {first.trial} on 4 fresh seeds, the mean | {first.mean:.6g} ± " in card
    assert f"| score of {first.trial} in the search | {first.search_value:.6g} |" in card
    assert f"| score of this model, {chosen.trial}, the best of these | {chosen.value:.6g} |" in card
    assert f"a repeat of {first.trial}, which won on fresh seeds among the best of 5 trials" in card
    assert "by which it was chosen" not in card
    manifest = json.loads((over.folder / "best" / "manifest.json").read_text())
    seed = over.core.run.repeats[chosen.trial].training_seed(0)
    assert (manifest["trial"], manifest["checkpoint"], manifest["seed"]) == (chosen.trial, chosen.checkpoint, seed)


def test_the_page_has_a_section_of_it_and_shows_the_search_alone_elsewhere(over: Played) -> None:
    history = History(over.folder)
    made = page(history)
    assert "could not be made" not in made
    assert f"Confirmed: {confirmed.confirmed(history.run)[0].trial}, score " in made
    assert {report.trial for _, report in history.reports} == set(history.run.trials)
    assert history.steps[-1].value == 3.0
    first, head = confirmed.confirmed(history.run)[0], made.split("</header>")[0]
    assert f"Confirmed: {first.trial}, score " in head
    assert "param of the confirmed winner" in head
    assert f"{history.run.trials[first.trial].params['x']:.5g}</td>" in head


class Kept:
    """A service that remembers what it is sent."""

    name, patience = "It", 600.0

    def __init__(self) -> None:
        self.ends: dict[str, str | None] = {}

    def begin(self, run: RunState, identity: str) -> None:
        """Nothing to connect to."""

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        self.ends[trial.id] = trial.outcome
        yield

    def finish(self, run: RunState) -> Iterator[None]:
        """Nothing to say."""
        yield


def test_loggers_are_sent_repeats_as_trials(over: Played, tmp_path: Path) -> None:
    kept, state = Kept(), RunState()
    uploader = Uploader(kept, tmp_path, lambda text: None)
    for record in read(over.folder):
        state.apply(record)
        uploader.see(record, state)
    uploader.close(state)
    assert kept.ends == {trial.id: trial.outcome for trial in over.core.run.everyone()}


def test_tensorboard_shows_repeats_and_the_study_does_not(over: Played) -> None:
    names = {path.name for path in (over.folder / "tensorboard").iterdir() if path.is_dir()}
    assert names == {*over.core.run.trials, *over.core.run.repeats}
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(over.folder / NAME))))
    assert [trial.user_attrs["trial"] for trial in study.trials] == list(over.core.run.trials)


def test_why_tells_of_repeats(over: Played) -> None:
    last = confirmed.confirmed(over.core.run)[2]
    text = said(lambda console: why(over.folder, last.trial, console))
    assert f"confirmed   repeated on fresh seed 2 as {last.trial}-s2" in text
    assert f"dropped     {last.dropped}" in text
    folder, name = find_trial(f"{over.folder}/{last.trial}-s2")
    assert name is not None
    text = said(lambda console: why(folder, name, console))
    assert f"{name} of {over.folder.name}: diverged at epoch 2" in text
    assert f"repeats     {last.trial} on fresh seed 2: x=" in text


def test_while_it_confirms_that_is_shown_and_counted(tmp_path: Path) -> None:
    played = Played(tmp_path, 2, **PARTS)
    assert epochs_left(played.core.run) == 5 * 2 + 2 * 4 * 2
    while len(played.core.run.repeats) < 3:
        work = played.work()
        for epoch in (1, 2):
            played.report(work, epoch, noisy(work, epoch))
    played.work()
    show = Show(Console(file=io.StringIO()))
    for record in read(tmp_path):
        show.see(record, played.core.run)
    assert "5 of 5 trials, 16 epochs; confirming 2 trials: 3 of 8 repeats" in show.status()
    assert epochs_left(played.core.run) == 5 * 2
    (name,) = (one.id for one in played.core.run.repeats.values() if one.status == "running")
    assert any(line.plain.startswith(name) for line in show.table(played.core.run, 20, 120))
    played.close()
    assert stop(tmp_path, name) == f"{name} is stopped; nothing was running"
    assert stop(tmp_path, None) == "the run is stopped; nothing was running"
    text = said(partial(report, results.read_state(tmp_path)))
    assert "Not confirmed: the run was stopped before each had its seeds" in text


@pytest.mark.parametrize(
    ("more", "was_ended", "problem"),
    [
        ({"seeds": 3}, False, "confirm.seeds: must be at least 4, as before, but got 3"),
        ({"top": 1}, False, "confirm.top: must be at least 2, as before, but got 1"),
        ({"seeds": 9}, True, "must have a larger budget beside other settings where the run is over"),
    ],
)
def test_less_to_confirm_is_refused_and_so_is_more_of_a_run_that_was_ended(
    more: dict[str, int], was_ended: bool, problem: str
) -> None:
    old = experiment(**PARTS)
    new = experiment(**{**PARTS, "confirm": {**PARTS["confirm"], **more}})
    with pytest.raises(UserError, match=re.escape(problem)):
        changes(old, new, is_over=True, was_ended=was_ended)


def test_more_to_confirm_is_told() -> None:
    old, new = experiment(), experiment(confirm={"top": 2, "seeds": 5})
    found = changes(old, new, is_over=True)
    assert found == {"confirm": {"top": 2, "seeds": 5}}
    assert told(old, found, 4) == ["confirm.top is 2", "confirm.seeds is 5"]
    more = changes(new, new.with_parts({"confirm": {"seeds": 9}}), is_over=True)
    assert told(new, more, 4) == ["confirm.seeds grows from 5 to 9"]


def test_check_says_what_confirmation_adds() -> None:
    assert plan(experiment(budget={"trials": 2, "epochs": 4}, confirm={"top": 3, "seeds": 5}), 2).repeats == 10
    assert plan(experiment(), 2).repeats == 0


def test_when_the_target_is_reached_the_search_is_stopped_and_the_confirmation_begins(tmp_path: Path) -> None:
    played = Played(tmp_path, 2, budget={"trials": 8, "epochs": 4, "target": 5.0}, confirm={"top": 2, "seeds": 2})
    first, second = played.work(), played.work()
    assert played.report(second, 1, 1.0) == "go"
    assert played.report(first, 1, 6.0) == "stop"
    assert not played.live.over
    assert not played.live.comes_to_end()
    repeat = played.work()
    assert repeat.trial == f"{first.trial}-s1"
    assert played.live.hand_out() is None, "the other slot is not free before its trial has heard of it"
    assert played.say(second, "beat") == "stop"
    assert played.work().trial == f"{second.trial}-s1"
    assert played.report(repeat, 1, 7.0) == "go", "a repeat has no target"
    played.live.interrupted = True
    assert played.live.over
