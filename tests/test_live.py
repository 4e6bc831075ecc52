"""A live run with workers that are played by the test: no Ray, no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from played import Played

from tuner.core.events import StopAsked
from tuner.core.records import Record, Report
from tuner.engine import wishes
from tuner.engine.assign import assign_first
from tuner.errors import ClusterError
from tuner.ledger import read
from tuner.trial import checkpoint

SCHEDULERS = [
    {"kind": "none"},
    {"kind": "asha", "reduction_factor": 2},
    {"kind": "asha", "reduction_factor": 2, "promote": True},
    {"kind": "pbt"},
]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=["none", "stopping", "promoting", "pbt"])
@pytest.mark.parametrize("slots", [1, 3])
def test_no_more_workers_than_slots_and_all_trials_end(tmp_path: Path, scheduler: dict[str, Any], slots: int) -> None:
    played = Played(tmp_path, slots, scheduler=scheduler)
    assert played.run() == slots
    assert played.live.over
    assert played.core.run.finished()
    assert len(played.core.run.trials) == 8
    assert played.published == read(tmp_path)[2:], "published as they stand in the ledger"


def test_work_is_bounded_by_the_slots_and_comes_back_with_each_worker(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=2)
    a, b = played.work(), played.work()
    assert [a.trial, b.trial] == ["t0000", "t0001"]
    assert played.live.hand_out() is None
    assert len(played.core.run.trials) == 2, "no trial is suggested before there is a slot for it"
    assert played.report(a, 1, 0.5) == "go"
    assert played.live.hand_out() is None
    assert played.report(a, 4, 0.5) == "stop"
    assert played.work().trial == "t0002"
    assert played.live.hand_out() is None


@pytest.mark.parametrize(("slots", "trials", "beat"), [(3, 8, 1.0), (500, 200, 2.0), (400, 900, 4.0), (999, 999, 5.0)])
def test_the_more_trials_run_the_more_seldom_each_speaks(tmp_path: Path, slots: int, trials: int, beat: float) -> None:
    played = Played(tmp_path, slots, budget={"trials": trials, "epochs": 4})
    assert played.work().beat == beat


def test_an_assignment_says_all_that_a_worker_needs(tmp_path: Path) -> None:
    checkpoint = {"every": 3}
    played = Played(tmp_path, scheduler={"kind": "asha", "reduction_factor": 2}, checkpoint=checkpoint, seed=5)
    a, b = played.work(), played.work()
    assert a.params == {"batch_size": 64, **played.core.run.trials["t0000"].params}
    assert (a.run, a.metric, a.epochs, a.generation, a.attempt) == (str(tmp_path), "score", 4, 0, "1.0")
    assert (a.checkpoint, a.epoch, a.cloned) == (None, 0, False)
    assert [epoch for epoch in range(1, 5) if a.saves(epoch - 1, epoch)] == [1, 2, 3, 4], (
        "rungs, every third, and the last"
    )
    assert a.seed != b.seed
    played.close()
    again = Played(tmp_path, scheduler={"kind": "asha", "reduction_factor": 2}, checkpoint=checkpoint, seed=5).work()
    assert (again.trial, again.seed, again.attempt) == ("t0000", a.seed, "2.0")


def test_the_trial_in_this_process_is_assigned_what_the_first_of_a_run_is(tmp_path: Path) -> None:
    played = Played(tmp_path, precision="bf16", resources={"cpus": 3})
    of_a_run, here = played.work(), assign_first(played.spec, str(tmp_path))
    for name in ("run", "trial", "params", "seed", "metric", "epochs", "precision", "cpus", "gpus", "ranks"):
        assert getattr(here, name) == getattr(of_a_run, name), name
    assert (here.precision, here.cpus) == ("bf16", 3)


@pytest.mark.parametrize(
    "parts",
    [
        {"scheduler": {"kind": "auto"}, "search": {"kind": "auto"}},
        {"scheduler": {"kind": "pbt", "interval_epochs": 5}, "budget": {"trials": 4, "epochs": 20}},
        {"scheduler": {"kind": "asha", "promote": True}, "budget": {"trials": 9, "epochs": 20}},
    ],
    ids=["auto", "pbt", "asha"],
)
@pytest.mark.parametrize("every", [2, 3])
def test_a_report_that_passes_what_is_decided_by_is_saved(tmp_path: Path, every: int, parts: dict[str, Any]) -> None:
    more = {"checkpoint": {"every": 50}, "budget": {"trials": 6, "epochs": 20}, **parts}
    played = Played(tmp_path, slots=2, **more)
    played.run(every=every)
    assert played.live.error is None
    assert played.core.run.finished()
    marked = [one for one in read(tmp_path) if isinstance(one, Report) and one.decision.mark]
    assert marked
    assert all(one.checkpoint for one in marked), "else a promoted trial, or a clone, would begin anew"


def test_a_lost_worker_s_trial_is_handed_out_again_first_under_another_name(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=2)
    a, _ = played.work(), played.work()
    played.report(a, 1, 0.5)
    played.report(a, 2, 0.5)
    played.live.lost(a.trial, "node died")
    again = played.work()
    assert (again.trial, again.attempt, again.epoch) == (a.trial, "1.1", 2)
    assert again.checkpoint == "trials/t0000/checkpoints/g0_e0002_a1.0"
    assert played.report(again, 2, 0.9) == "go", "a known epoch changes nothing, and the trial goes on"
    assert played.core.run.trials[a.trial].reports[-1].metrics == {"score": 0.5}


def test_a_pbt_clone_is_stopped_and_handed_out_with_its_donor_s_checkpoint(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=2, scheduler={"kind": "pbt"}, budget={"trials": 2, "epochs": 4})
    a, b = played.work(), played.work()
    assert played.report(a, 1, 0.9) == "go"
    assert played.report(b, 1, 0.1) == "stop"
    clone = played.work()
    assert (clone.trial, clone.generation, clone.cloned, clone.epoch) == (b.trial, 1, True, 1)
    assert clone.checkpoint == a.checkpoint_name(1)
    assert clone.params["x"] != a.params["x"]
    assert played.report(clone, 2, 0.95) == "go"
    played.live.lost(b.trial, "node")
    again = played.work()
    assert (again.checkpoint, again.cloned) == (clone.checkpoint_name(2), False), "its own by now"
    assert again.params == clone.params


def test_a_paused_trial_s_worker_is_freed_and_a_promoted_one_goes_on_where_it_was(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=1, scheduler={"kind": "asha", "reduction_factor": 2, "promote": True})
    first = played.work()
    assert played.report(first, 1, 0.9) == "stop"
    second = played.work()
    assert played.report(second, 1, 0.1) == "stop"
    promoted = played.work()
    assert (promoted.trial, promoted.epoch) == (first.trial, 1)
    assert promoted.checkpoint == first.checkpoint_name(1)


def test_a_resumed_run_hands_out_what_was_running_before_anything_new(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=2)
    a, b = played.work(), played.work()
    played.report(b, 1, 0.5)
    played.close()
    resumed = Played(tmp_path, slots=3)
    work = [resumed.work() for _ in range(3)]
    assert [item.trial for item in work] == [a.trial, b.trial, "t0002"]
    assert [(item.epoch, item.checkpoint) for item in work] == [(0, None), (1, b.checkpoint_name(1)), (0, None)]


def test_a_heartbeat_carries_a_stop_to_the_trial(tmp_path: Path) -> None:
    played = Played(tmp_path)
    a, b = played.work(), played.work()
    assert played.say(a, "beat") == "go"
    played.live.commit(StopAsked(trial=a.trial))
    assert played.say(a, "beat") == "stop"
    assert played.say(b, "beat") == "go"
    played.live.commit(StopAsked())
    assert played.say(b, "beat") == "stop"
    assert [trial.outcome for trial in played.core.run.trials.values()] == ["killed", "killed"]
    assert played.live.over


def test_a_heartbeat_notices_that_the_hours_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path, budget={"trials": 8, "epochs": 4, "hours": 0.5})
    work = played.work()
    assert played.say(work, "beat") == "go"
    began = played.live._began
    monkeypatch.setattr("tuner.engine.live.time.monotonic", lambda: began + 1801)
    assert played.say(work, "beat") == "stop"
    assert played.core.run.closed == "hours"


def test_an_interrupted_run_hands_out_nothing(tmp_path: Path) -> None:
    played = Played(tmp_path)
    played.work()
    played.live.interrupted = True
    assert played.live.hand_out() is None
    assert played.live.over


def test_nothing_is_applied_or_published_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path)
    work = played.work()

    def full(record: Record) -> Record:
        raise OSError("No space left on device")

    published = len(played.published)
    monkeypatch.setattr(played.ledger, "append", full)
    assert played.report(work, 1, 0.5) == "stop"
    assert isinstance(played.live.error, ClusterError)
    assert "No space" in str(played.live.error)
    assert played.core.run.trials[work.trial].epoch == 0
    assert len(played.published) == published


def test_a_report_notices_that_the_hours_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path, budget={"trials": 8, "epochs": 4, "hours": 0.5})
    work = played.work()
    assert played.report(work, 1, 0.5) == "go"
    began = played.live._began
    monkeypatch.setattr("tuner.engine.live.time.monotonic", lambda: began + 1801)
    assert played.report(work, 2, 0.5) == "stop"  # epochs shorter than a heartbeat do not hold off the limit
    assert played.core.run.closed == "hours"


def test_a_checkpoint_that_is_torn_is_not_handed_out(tmp_path: Path) -> None:
    played = Played(tmp_path)
    work = played.work()
    assert played.report(work, 1, 0.5) == "go"
    (tmp_path / work.checkpoint_name(1) / checkpoint.MANIFEST).unlink()
    played.live.lost(work.trial, "gone")
    again = played.work()
    assert (again.trial, again.checkpoint, again.epoch) == (work.trial, None, 0)


def test_only_what_an_earlier_session_saved_is_summed_up_before_it_is_handed_out(tmp_path: Path) -> None:
    played = Played(tmp_path)
    work = played.work()
    saved = work.checkpoint_name(1)
    assert played.report(work, 1, 0.5) == "go"
    (file,) = (path for path in (tmp_path / saved).iterdir() if path.name != checkpoint.MANIFEST)
    file.write_bytes(bytes(file.stat().st_size))
    played.live.lost(work.trial, "gone")
    assert played.work().checkpoint == saved, "the trial's own process reads it, and would tell"
    played.close()
    assert Played(tmp_path).work().checkpoint is None


def test_a_trial_that_is_asked_to_stop_ends_with_its_next_saved_report(tmp_path: Path) -> None:
    played = Played(tmp_path)
    a, b = played.work(), played.work()
    wishes.ask(tmp_path, a.trial)
    played.live.stops._looked = 0.0
    assert played.say(a, "beat") == "go", "it may come to its next report"
    assert played.report(b, 1, 0.5) == "go"
    assert played.report(a, 1, 0.5) == "stop"
    outcomes = {trial.id: trial.outcome for trial in played.core.run.trials.values()}
    assert outcomes == {a.trial: "killed", b.trial: None}
    assert wishes.take(tmp_path) == [], "the wish is taken away"


def test_a_run_that_is_asked_to_stop_ends_when_all_have_reported_or_had_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path)
    a, b = played.work(), played.work()
    wishes.ask(tmp_path, None)
    played.live.stops._looked = 0.0
    played.live.tick()
    assert played.live.over
    assert (tmp_path / "stopping").exists(), "for the processes to see"
    assert played.report(a, 1, 0.5) == "stop"
    assert played.live.hand_out() is None
    assert not played.live.comes_to_end(), "one runs still"
    assert played.say(b, "beat") == "go"
    monkeypatch.setattr(played.live.stops, "_due", 0.0)
    assert played.live.comes_to_end()
    assert played.core.run.closed == "asked"
    played.live.close()
    assert not (tmp_path / "stopping").exists()
    assert not (tmp_path / "reserve").exists()
