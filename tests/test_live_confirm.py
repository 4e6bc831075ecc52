"""The best again on fresh seeds, handed out by a live run: no Ray, no processes."""

from __future__ import annotations

import io
import random
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from played import Played, experiment
from printed import said
from rich.console import Console

from tuner.core.records import Repeated, Session
from tuner.engine.ask import stop
from tuner.errors import UserError
from tuner.ledger import read
from tuner.outputs import confirmed, results
from tuner.outputs.forecast import epochs_left
from tuner.outputs.live import Show
from tuner.outputs.report import report
from tuner.plan import plan
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
    ("more", "closed", "problem"),
    [
        ({"seeds": 3}, "", "confirm.seeds: must be at least 4, as before, but got 3"),
        ({"top": 1}, "", "confirm.top: must be at least 2, as before, but got 1"),
        ({"seeds": 9}, "hours", "must have a larger budget beside other settings where the run is over"),
    ],
)
def test_less_to_confirm_is_refused_and_so_is_more_of_a_run_that_was_ended(
    more: dict[str, int], closed: str, problem: str
) -> None:
    old = experiment(**PARTS)
    new = experiment(**{**PARTS, "confirm": {**PARTS["confirm"], **more}})
    with pytest.raises(UserError, match=re.escape(problem)):
        changes(old, new, is_over=True, closed=closed)


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


def test_a_repeat_that_saves_not_each_epoch_is_confirmed(tmp_path: Path) -> None:
    played = Played(tmp_path, confirm={"top": 2, "seeds": 2}, checkpoint={"every": 2})
    played.run()
    assert played.live.error is None
    assert {trial.outcome for trial in played.core.run.repeats.values()} == {"finished"}
