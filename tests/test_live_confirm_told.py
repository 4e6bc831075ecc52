"""What is told of a run that has confirmed: its end, files, card, page, loggers, boards, and why."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from played import Played
from printed import said

from tuner.core import confirm
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.engine.evaluate import stint
from tuner.engine.follow import Observer
from tuner.engine.keep import Folder, Keeper
from tuner.ledger import read
from tuner.outputs import confirmed, results
from tuner.outputs.farewell import farewell
from tuner.outputs.loggers.uploader import Uploader
from tuner.outputs.page.history import History
from tuner.outputs.page.page import page
from tuner.outputs.report import report
from tuner.outputs.study import NAME, Study
from tuner.outputs.tensorboard import TensorBoard
from tuner.outputs.why import why
from tuner.runs import find_trial
from tuner.trial import Assignment


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
