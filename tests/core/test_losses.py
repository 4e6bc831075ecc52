"""A trial that is silent, and trials that fail one after the other: both are decided from the records alone."""

from __future__ import annotations

import pytest

from tuner.core.events import Failed, Gone, Silent
from tuner.core.records import Disk, Ended, Lost, Session
from tuner.core.run import MAX_LOSSES

from .experiments import Hand, experiment, rebuilt


def watched() -> Hand:
    """A run of two trials that hang when silent for 60 s and ten of their slowest epochs."""
    return Hand(experiment(watchdog={"seconds": 60.0, "factor": 10.0}, budget={"trials": 9, "epochs": 9}))


def after_an_epoch(seconds: float) -> tuple[Hand, str, str]:
    run = watched()
    a, b = run.start(2)
    event = run.reported(a, 1, 0.5)
    run.do(type(event)(**{**{name: getattr(event, name) for name in event.__slots__}, "seconds": seconds}))
    return run, a, b


def test_nobody_hangs_before_any_trial_has_reported() -> None:
    run = watched()
    (a,) = run.start(1)
    assert run.do(Silent(trial=a, seconds=1e9)) is None


@pytest.mark.parametrize(("epoch", "silence"), [(1.0, 60.0), (30.0, 300.0)])
def test_a_trial_hangs_when_both_bounds_are_passed(epoch: float, silence: float) -> None:
    run, a, b = after_an_epoch(epoch)
    for name in (a, b):
        assert run.do(Silent(trial=name, seconds=silence)) is None
        lost = run.do(Silent(trial=name, seconds=silence + 1))
        assert isinstance(lost, Lost)
        assert (lost.trial, lost.cause) == (name, "stalled")
        assert lost.reason.startswith(f"silent for {silence + 1:.3g} s, where no epoch took more than {epoch:.3g} s")


def test_the_first_epoch_of_a_large_model_gets_twice_as_long_each_time() -> None:
    run, _, b = after_an_epoch(30.0)
    for limit in (300.0, 600.0):
        assert run.do(Silent(trial=b, seconds=limit)) is None
        assert isinstance(run.do(Silent(trial=b, seconds=limit + 1)), Lost)
    assert run.do(Silent(trial=b, seconds=1200.0)) is None
    end = run.do(Silent(trial=b, seconds=1201.0))
    assert isinstance(end, Ended)
    assert (end.outcome, run.trial(b).losses) == ("stalled", 2)


def test_a_trial_that_waits_does_not_hang() -> None:
    run, a, _ = after_an_epoch(1.0)
    run.trial(a).status = "paused"
    assert run.do(Silent(trial=a, seconds=1e9)) is None


def test_a_disk_that_is_full_again_and_again_is_not_that_of_the_run() -> None:
    run = watched()
    (a,) = run.start(1)
    for _ in range(MAX_LOSSES["disk"]):
        assert isinstance(run.do(Gone(trial=a, reason="no space", cause="disk")), Lost)
    end = run.do(Gone(trial=a, reason="no space", cause="disk"))
    assert isinstance(end, Ended)
    assert (end.outcome, end.reason) == ("lost", "found no room 21 times without a new report: no space")
    run = watched()
    (a,) = run.start(1)
    for _ in range(100):
        assert isinstance(run.do(Gone(trial=a, reason="node", cause="machine")), Lost)


def test_a_disk_that_is_full_when_a_session_begins_counts_no_time_between_sessions() -> None:
    run = watched()
    begins = {"host": "h", "pid": 1, "slots": 2, "versions": {}}
    run.take(Session(time=1000.0, attempt=2, **begins))
    (a,) = run.start(1)
    run.take(Disk(time=1100.0, full=True, free=0))
    run.take(Lost(time=1100.0, trial=a, reason="x", cause="disk"))
    run.take(Disk(time=90000.0, full=True, free=0))
    run.take(Session(time=90001.0, attempt=3, **begins))
    assert run.core.run.elapsed == 100.0


def failure(name: str, line: int = 3) -> Failed:
    error = f'Traceback\n  File "mine.py", line {line}, in train\nKeyError: {name}'
    return Failed(trial=name, outcome="failed", reason=f"KeyError: {name}", error=error)


def test_failures_in_a_row_are_counted_in_the_order_in_which_they_end_and_known_after_a_replay() -> None:
    run = watched()
    a, b, c, d = run.start(4)
    for name in (d, b):
        run.do(failure(name))
    assert run.core.run.streak.trials == [d, b]
    run.do(Gone(trial=a, reason="node", cause="machine"))
    run.do(failure(c))
    assert run.core.run.streak.is_over
    assert rebuilt(run.spec, run.records).run.streak.trials == [d, b, c]


def test_a_first_report_another_failure_and_a_new_session_begin_the_count_anew() -> None:
    run = watched()
    a, b, c, d, e = run.start(5)
    run.do(failure(a))
    run.report(e, 1, 0.5)
    assert run.core.run.streak.trials == []
    run.do(failure(b))
    run.report(e, 2, 0.5)
    assert run.core.run.streak.trials == [b], "that the code can report was known by then"
    run.do(failure(c, line=4))
    assert run.core.run.streak.trials == [c], "it failed elsewhere"
    run.take(Session(attempt=2, host="h", pid=1, slots=9, versions={}))
    assert run.core.run.streak.trials == [], "the code may be another one by now"
    run.do(failure(d))
    assert not run.core.run.streak.is_over
