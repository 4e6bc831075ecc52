"""A confirmation in a live run, at its edges: machines, checkpoints, the test split; no Ray, no processes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from core.experiments import Hand
from core.experiments import experiment as spec_of
from played import Played
from rich.console import Console

from tuner.core import confirm
from tuner.core.events import Elapsed, Free
from tuner.core.records import Given, Machines, Repeated
from tuner.engine import stops
from tuner.engine.evaluate import RESULT, Model, evaluate
from tuner.engine.keep import needed
from tuner.engine.machines import Node
from tuner.engine.run import drive
from tuner.errors import RunFailed
from tuner.outputs import confirmed, live
from tuner.outputs.live import Show
from tuner.slot.code import Code

NOTHING = Code(module="no_such_module", function="train")


def search(played: Played, trials: int, epochs: int) -> None:
    """Train the trials of the search, one after the other."""
    for _ in range(trials):
        work = played.work()
        for epoch in range(1, epochs + 1):
            played.report(work, epoch, work.params["x"])


def test_where_every_trial_failed_the_run_fails_and_says_why(tmp_path: Path) -> None:
    played = Played(tmp_path, 1, budget={"trials": 2, "epochs": 2}, confirm={"top": 2, "seeds": 5})
    for n in range(2):
        played.fail(played.work(), f"ValueError: {n}")
    assert played.live.hand_out() is None
    assert played.live.over
    played.close()
    with pytest.raises(RunFailed, match=r"every trial failed; the last one \(failed\) so:\nTraceback\nValueError: 1"):
        drive(tmp_path, NOTHING, None, list)
    assert RunFailed.exit_code == 1


def test_the_best_checkpoint_of_a_repeat_that_was_cut_short_is_kept() -> None:
    hand = Hand(spec_of(budget={"trials": 1, "epochs": 3, "hours": 1}, confirm={"top": 1, "seeds": 2}))
    (name,) = hand.start(1, x=0.5)
    for epoch in (1, 2, 3):
        hand.report(name, epoch, 0.9)
    record = hand.do(Free())
    assert isinstance(record, Repeated)
    hand.report(record.trial, 1, 0.8)
    hand.report(record.trial, 2, 0.7)
    hand.do(Elapsed(seconds=7200.0))
    one = hand.trial(record.trial)
    assert one.before == "running"
    assert needed(hand.core.run, one) == {report.checkpoint for report in one.reports}


def test_the_search_shares_gpus_as_without_confirmation_and_the_repeats_as_many_as_they_are(tmp_path: Path) -> None:
    parts: dict[str, Any] = {
        "node": Node(8, 1), "budget": {"trials": 2, "epochs": 1}, "resources": {"gpus": 0.25},
        "confirm": {"top": 2, "seeds": 2},
    }  # fmt: skip
    played = Played(tmp_path, 2, **parts)
    assert played.live.placement.slots == 2
    search(played, 2, 1)
    works = [played.work() for _ in range(4)]
    shares = {one.trial: one.gpus for one in played.published if isinstance(one, Given)}
    assert shares == {"t0000": 0.5, "t0001": 0.5, **{work.trial: 0.25 for work in works}}
    assert [one.slots for one in played.published if isinstance(one, Machines)] == [4]
    played.close()
    again = Played(tmp_path, 4, **parts)
    assert again.live.placement.slots == 4, "a resume in the middle begins with as many"
    again.close()


class Looks:
    """Keeps what it was told."""

    refusal = ""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __call__(self, more: int, first: object) -> None:
        self.told.append(more)


def wished(played: Played) -> int:
    """Look at the machines; returns for how many more trials there could be room."""
    played.live.fleet.look = looks = Looks()
    played.live.stops._looked = -stops.LOOK_SECONDS
    played.live.tick()
    return looks.told[-1]


def test_machines_are_asked_for_what_is_to_come_in_this_phase(tmp_path: Path) -> None:
    budget = {"trials": 3, "epochs": 4, "target": 5.0}
    confirms = {"top": 2, "seeds": 4}
    played = Played(tmp_path, 1, Node(1), budget=budget, confirm=confirms, resources={})
    work = played.work()
    assert wished(played) == 2, "three trials, and room for one"
    assert played.live.fleet.at_once(9) == 9, "whose workers may be kept for the repeats"
    played.report(work, 1, 6.0)
    assert played.core.run.closed == "target"
    played.work()
    assert wished(played) == 3, "four repeats, and no trial that will not come any more"


def test_the_test_split_waits_for_a_confirmation_that_may_go_on(tmp_path: Path) -> None:
    played = Played(tmp_path, 1, budget={"trials": 2, "epochs": 1, "hours": 1}, confirm={"top": 2, "seeds": 2})
    search(played, 2, 1)
    played.work()
    played.live._began -= 7200
    played.live.tick()
    run = played.core.run
    assert (run.closed, confirm.is_pending(run)) == ("hours", True)
    assert run.chosen is not None and run.chosen == run.best_saved
    model = Model(run.chosen, {"has_test": True, "kinds": {}})
    assert evaluate(tmp_path, run, model, NOTHING, None) is None
    assert not (tmp_path / RESULT).exists()
    lines = [line.plain for line in confirmed.lines(run, 120)]
    assert lines[:2] == [
        "Not confirmed: budget.hours was reached before each had its seeds",
        "Until then the test split is not touched; with a larger budget --resume goes on.",
    ]


def test_a_torn_checkpoint_of_the_best_is_told_once(tmp_path: Path) -> None:
    played = Played(tmp_path, 1, budget={"trials": 1, "epochs": 1})
    search(played, 1, 1)
    best = played.core.run.chosen
    assert best is not None
    (tmp_path / str(best.checkpoint) / "manifest.json").write_text("{")
    played.close()
    said: list[str] = []
    drive(tmp_path, NOTHING, None, list, say=lambda text, lasting=True: said.append(text))
    assert len(said) == 1
    assert said[0].startswith("The best model is neither measured on the test split nor written in other formats: ")


def test_a_line_that_cannot_be_made_is_left_out_and_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.01)

    class Grows(Show):
        fails = False

        def status(self) -> str:
            if self.fails:
                self.fails = False
                raise RuntimeError("dictionary changed size during iteration")
            self._done.set()
            return "the second line"

    file = io.StringIO()
    show = Grows(Console(file=file, force_terminal=False))
    show.fails = True  # from here on: it has drawn itself once
    show._done.clear()
    with show:
        show._done.wait(20)
    assert file.getvalue() == "the second line\n"
