"""Which checkpoints are deleted, where a budget has grown or a run was closed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from core.experiments import Hand, experiment

from tuner.core.events import Elapsed, Free
from tuner.core.records import Asked, Repeated, Session
from tuner.core.state import RunState
from tuner.engine.keep import Folder, Keeper, needed


def replayed(folder: Path, run: Hand, live: bool = True) -> None:
    """Let a keeper see all records anew, as at the next driver's start, and then a session of that driver."""
    keeper, state = Keeper(Folder(folder)), RunState()
    session = Session(time=time.time() + 1, attempt=9, host="h", pid=1, slots=1, versions={})
    for record in [*run.records, *([session] if live else [])]:
        state.apply(record)
        keeper.see(record, state)
    keeper.close(state)


def save(folder: Path, run: Hand, name: str, epoch: int) -> Path:
    """Report an epoch with a checkpoint that is there."""
    event = run.reported(name, epoch, epoch / 100)
    path = folder / str(event.checkpoint)
    path.mkdir(parents=True)
    run.do(event)
    return path


def grown(folder: Path, **more: Any) -> tuple[Hand, Path]:
    run = Hand(experiment(budget={"trials": 1, "epochs": 2}, checkpoint={"keep": 1}, **more))
    (name,) = run.start(1)
    save(folder, run, name, 1)
    save(folder, run, name, 2)
    run.take(Asked(budget={"epochs": 5}))
    run.core.run.trials[name].status = "running"
    return run, save(folder, run, name, 3)


def test_a_checkpoint_that_came_after_a_larger_budget_is_kept_when_the_ledger_is_seen_anew(tmp_path: Path) -> None:
    run, newest = grown(tmp_path)
    for live in (False, True):
        replayed(tmp_path, run, live)
        assert newest.is_dir()


def test_what_an_ended_trial_saved_without_a_report_goes_at_the_end_of_a_session(tmp_path: Path) -> None:
    run = Hand(experiment(budget={"trials": 1, "epochs": 1}))
    (name,) = run.start(1)
    kept = save(tmp_path, run, name, 1)
    orphan = kept.with_name("g0_e0001_a0.9")
    orphan.mkdir()
    replayed(tmp_path, run, live=False)
    assert orphan.is_dir(), "nothing new was seen: nothing is known of what came later"
    replayed(tmp_path, run)
    assert kept.is_dir() and not orphan.exists()


def test_a_clone_that_a_limit_has_ended_keeps_what_it_would_start_from() -> None:
    run = Hand(
        experiment(budget={"trials": 4, "epochs": 9, "hours": 1.0}, scheduler={"kind": "pbt", "interval_epochs": 2}),
        slots=2,
    )
    names = run.start(4, x=0.5)
    for place, name in enumerate(names):
        run.report(name, 2, place / 10)
    worst, best = names[0], names[-1]
    run.core.run.trials[worst].status = "running"
    run.report(worst, 4, 0.0)
    clone = run.trial(worst).clone
    assert clone is not None
    assert clone.donor == best
    run.core.run.trials[best].status = "running"
    run.report(best, 4, 0.9)
    run.do(Elapsed(seconds=4000))
    assert run.core.run.closed == "hours"
    assert run.trial(best).checkpoint[0] != clone.checkpoint, "the donor itself needs a later one"
    assert clone.checkpoint in needed(run.core.run, run.trial(best))


def test_a_run_that_is_closed_a_second_time_keeps_of_its_repeats_what_may_still_be_read(tmp_path: Path) -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9, "target": 0.01, "hours": 1.0}, checkpoint={"keep": 3},
                          confirm={"top": 1, "seeds": 2}))  # fmt: skip
    run.start(1, x=0.5)
    save(tmp_path, run, "t0000", 1)
    assert run.core.run.closed == "target"
    repeat = run.do(Free())
    assert isinstance(repeat, Repeated)
    saved = [save(tmp_path, run, repeat.trial, epoch) for epoch in (1, 2, 3, 4)]
    run.do(Elapsed(seconds=4000))
    assert run.core.run.closed == "hours"
    keeper, state = Keeper(Folder(tmp_path)), RunState()
    for record in run.records:
        state.apply(record)
        keeper.see(record, state)
    left = needed(state, state.find(repeat.trial))
    assert {path for path in saved if path.is_dir()} == {tmp_path / name for name in left} != set(saved[1:])
