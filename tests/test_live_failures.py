"""A live run whose trials fail: by misuse, in a row, or for lack of memory. No Ray, no processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from played import Played

from tuner.core.records import Ended, Given, Report
from tuner.core.run import MAX_LOSSES
from tuner.core.streak import LONGEST
from tuner.errors import RunFailed, UserError
from tuner.ledger import read


def test_misuse_ends_the_run_and_leaves_the_trial_open(tmp_path: Path) -> None:
    played = Played(tmp_path)
    work = played.work()
    assert played.fail(work, "trial.report: must hold score, but got loss", misuse=True) == "stop"
    assert isinstance(played.live.error, UserError)
    assert "trial t0000: trial.report: must hold score, but got loss\nTraceback" in str(played.live.error)
    assert played.core.run.trials[work.trial].status == "running", "a resume with the code corrected goes on"
    assert not any(isinstance(record, Ended) for record in read(tmp_path))
    assert played.live.over
    assert played.live.hand_out() is None


def test_after_an_error_the_others_are_stopped_too_but_their_reports_are_kept(tmp_path: Path) -> None:
    played = Played(tmp_path)
    a, b = played.work(), played.work()
    played.fail(a, "x", misuse=True)
    assert played.report(b, 1, 0.5) == "stop"
    assert [record.trial for record in read(tmp_path) if isinstance(record, Report)] == [b.trial]
    assert played.core.run.trials[b.trial].status == "running"


def test_a_function_that_returns_without_any_report_is_misuse_at_first_and_a_failure_later(tmp_path: Path) -> None:
    played = Played(tmp_path)
    first = played.work()
    assert played.say(first, "returned") == "stop"
    assert isinstance(played.live.error, UserError)
    assert str(played.live.error) == "trial t0000: the function returned without trial.report(score=...). Report it."
    assert played.core.run.trials[first.trial].status == "running"
    played.close()

    played = Played(tmp_path)
    first, second = played.work(), played.work()
    played.report(first, 1, 0.5)
    assert played.say(second, "returned") == "stop"
    assert played.live.error is None, "the code can report: it is this trial that did not"
    assert played.core.run.trials[second.trial].outcome == "failed"
    assert played.say(first, "returned") == "stop"
    assert played.core.run.trials[first.trial].outcome == "finished"


def test_pbt_is_refused_when_its_first_comparison_finds_nothing_saved(tmp_path: Path) -> None:
    played = Played(tmp_path, budget={"trials": 4, "epochs": 3}, scheduler={"kind": "pbt", "interval_epochs": 1})
    work = played.work()
    assert played.report(work, 1, 0.5, checkpoint=None) == "stop"
    assert isinstance(played.live.error, UserError)
    assert "pbt copies weights, so the function must call trial.track" in str(played.live.error)


def test_a_trial_that_pauses_with_nothing_saved_ends_the_run(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=1, budget={"trials": 4, "epochs": 9}, scheduler={"kind": "asha", "promote": True})
    first = played.work()
    assert played.report(first, 1, 0.5, checkpoint=None) == "stop"
    assert "promote pauses trials, so the function must call trial.track" in str(played.live.error)


def test_three_trials_in_a_row_with_the_same_error_end_the_run(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=1)
    for count in range(1, LONGEST + 1):
        assert played.live.error is None
        assert played.fail(played.work(), "KeyError: 'x'") == "stop"
        assert played.core.run.trials[f"t{count - 1:04d}"].outcome == "failed"
    assert LONGEST == 3
    assert isinstance(played.live.error, RunFailed)
    assert "3 trials in a row failed before their first report with the same error" in str(played.live.error)
    assert "Traceback\nKeyError: 'x'" in str(played.live.error)
    assert played.live.hand_out() is None


def test_three_trials_whose_process_is_killed_again_and_again_end_the_run(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=1)
    for _ in range(LONGEST * (MAX_LOSSES["worker"] + 1)):
        assert played.live.error is None
        played.say(played.work(), "lost", reason="its process was killed by SIGKILL", cause="worker")
    assert [trial.outcome for trial in played.core.run.trials.values()] == ["lost"] * LONGEST
    assert isinstance(played.live.error, RunFailed)
    assert "killed by SIGKILL" in str(played.live.error)


def test_the_same_exception_at_the_same_line_is_one_although_its_text_holds_the_params(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=3)
    works = [played.work() for _ in range(3)]
    for line, work in zip((7, 8, 8), reversed(works), strict=True):
        error = f'Traceback\n  File "loop.py", line 1, in f\n  File "model.py", line {line}, in g\nValueError: no'
        played.fail(work, f"ValueError: {work.params['x']} is too much", error=error)
    assert played.live.error is None, "the first one failed elsewhere"
    played.fail(played.work(), "ValueError: 3", error=error)
    assert isinstance(played.live.error, RunFailed)


def test_a_trial_out_of_memory_begins_again_with_smaller_batches_and_then_with_more_of_the_gpu(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=2, resources={"gpus": 0.25, "placement": "pack"})
    work = played.work()
    assert (work.parts, work.gpus) == (1, 0.25)
    seen = []
    for _ in range(4):
        seen.append((work.trial, work.attempt, work.parts, work.gpus))
        assert played.fail(work, "out of memory: 1 GiB", outcome="infeasible", splits=True) == "stop"
        work = played.work()
    assert seen == [("t0000", "1.0", 1, 0.25), ("t0000", "1.1", 2, 0.25), ("t0000", "1.2", 2, 0.5),
                    ("t0000", "1.3", 2, 1.0)]  # fmt: skip
    assert (work.trial, work.parts, work.gpus) == ("t0001", 1, 0.25)
    assert played.core.run.trials["t0000"].outcome == "infeasible"
    given = [(record.trial, record.gpus) for record in played.published if isinstance(record, Given)]
    assert given == [("t0000", 0.25), ("t0000", 0.5), ("t0000", 1.0), ("t0001", 0.25)]


@pytest.mark.parametrize("between", ["another error", "a report first", "a trial that finished"])
def test_three_failures_that_differ_are_no_streak(tmp_path: Path, between: str) -> None:
    played = Played(tmp_path, slots=1)
    for number in range(4):
        work = played.work()
        if number == 1 and between == "a trial that finished":
            played.report(work, 4, 0.5)
            continue
        if number == 1 and between == "a report first":
            played.report(work, 1, 0.5)
        played.fail(work, "another" if number == 1 and between == "another error" else "KeyError")
    assert played.live.error is None
    played.fail(played.work(), "KeyError")
    assert isinstance(played.live.error, RunFailed), "three in a row now"
