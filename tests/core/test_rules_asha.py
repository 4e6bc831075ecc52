"""ASHA, stopping and promoting, on cases that fit on a hand's fingers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.core.events import Free
from tuner.core.records import Ended, Mark, Promoted
from tuner.core.rules.asha import cutoff, rung_epochs

from .experiments import Hand, experiment


def asha(mode: str = "max", epochs: int = 27, trials: int = 100, **scheduler: Any) -> Hand:
    parts = {"kind": "asha", "grace_epochs": 1, "reduction_factor": 3, **scheduler}
    return Hand(
        experiment(
            scheduler=parts,
            objective={"metric": "score", "mode": mode},
            budget={"trials": trials, "epochs": epochs},
        )
    )


@pytest.mark.parametrize(
    ("grace", "factor", "last", "epochs"),
    [
        (1, 3, 27, [1, 3, 9]),  # the last epoch is no rung: all that reach it are done
        (1, 3, 28, [1, 3, 9, 27]),
        (2, 2, 9, [2, 4, 8]),
        (1, 2.5, 20, [1, 2, 6, 16]),
        (1, 1.2, 5, [1, 2, 3, 4]),  # each epoch once, though several powers round to it
        (5, 3, 5, []),
    ],
)
def test_rungs_lie_a_factor_apart_and_before_the_last_epoch(
    grace: int, factor: float, last: int, epochs: list[int]
) -> None:
    assert rung_epochs(grace, factor, last) == epochs


@pytest.mark.parametrize(
    ("scores", "factor", "expected"),
    [
        ([], 3, None),
        ([7.0], 3, 7.0),
        ([1.0, 2.0], 2, 2.0),  # place 0.5 of 0..1: the upper neighbour
        ([1.0, 2.0, 3.0], 2, 2.0),  # place 1 exactly
        ([1.0, 2.0, 3.0, 4.0], 3, 3.0),  # place 2 exactly
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3, 4.0),  # place 2.67
        ([1.0, 2.0, 3.0, 4.0, 5.0], 4, 4.0),  # place 3 exactly
        ([1.0, 2.0, 3.0, 4.0, 5.0], 1.25, 2.0),  # place 0.8
    ],
)
def test_the_cutoff_is_the_upper_neighbour_of_the_quantile(
    scores: list[float], factor: float, expected: float | None
) -> None:
    rung = sorted((-score, i, f"t{i}") for i, score in enumerate(scores))
    assert cutoff(rung, factor) == expected


def test_rounding_never_moves_a_cutoff_whose_place_is_whole() -> None:
    for factor in (2, 3, 4, 5, 6, 7, 10):
        for steps in range(1, 60):
            rung = [(float(-place), place, "t") for place in range(factor * steps, -1, -1)]
            assert cutoff(rung, factor) == steps * (factor - 1)


def test_stopping_by_hand() -> None:
    run = asha()
    a, b, c, d, e = run.start(5)
    first = run.report(a, 1, 0.5)
    assert (first.action, first.mark) == ("go", Mark(bracket=0, epoch=1, value=0.5, cutoff=None, rank=1, of=1))
    worse = run.report(b, 1, 0.4)
    assert (worse.action, worse.outcome) == ("end", "stopped")
    assert worse.mark == Mark(bracket=0, epoch=1, value=0.4, cutoff=0.5, rank=2, of=2)
    assert worse.reason == "score 0.4 at epoch 1 is number 2 of 2; the best 1/3 have 0.5"
    assert run.report(c, 1, 0.5).action == "go", "as good as the cutoff is good enough"
    # What was stopped stays on the rung: of 0.4, 0.5, 0.5 the place is 1.33.
    assert run.report(d, 1, 0.49).action == "end"
    better = run.report(e, 1, 0.6)
    assert (better.action, better.mark) == ("go", Mark(bracket=0, epoch=1, value=0.6, cutoff=0.5, rank=1, of=5))
    assert run.core.run.rungs.keys() == {(0, 1)}
    assert [entry[2] for entry in run.core.run.rungs[0, 1]] == [e, a, c, d, b]


@pytest.mark.parametrize("quota", [True, False])
def test_no_more_go_on_than_the_quota_of_a_rung_but_those_far_ahead(quota: bool) -> None:
    run = asha(quota=quota)
    *rising, second, best = run.start(8)
    assert [run.report(name, 1, 0.1 * place).action for place, name in enumerate(rising)] == ["go"] * 6
    decision = run.report(second, 1, 0.45)
    assert decision.mark is not None and (decision.mark.rank, decision.action) == (2, "end" if quota else "go")
    if quota:
        assert decision.reason == (
            "score 0.45 at epoch 1 is number 2 of 7, not among the best 1/9, "
            "and 6 went on from there, as many as the best 1/3 are or more"
        )
    assert run.report(best, 1, 0.9).action == "go"
    *worse, ahead = run.start(11)
    assert {run.report(name, 1, 0.0).action for name in worse} == {"end"}
    decision = run.report(ahead, 1, 0.8)
    assert decision.mark is not None and (decision.mark.rank, decision.mark.of) == (2, 19)
    assert decision.action == "go", "the best ninth of 19 are three"


@pytest.mark.parametrize("epoch", [1, 2])
def test_those_that_were_stopped_at_a_rung_take_nothing_of_its_quota(epoch: int) -> None:
    run = asha()
    *falling, second = run.start(7)
    actions = [run.report(name, epoch, 0.5 - 0.05 * place).action for place, name in enumerate(falling)]
    assert actions == ["go"] + ["end"] * 5
    assert run.report(second, epoch, 0.48).action == "go"


def test_between_rungs_a_trial_goes_on_unmarked() -> None:
    run = asha()
    a, b = run.start(2)
    run.report(a, 1, 0.5)
    assert run.report(a, 2, 0.0).mark is None
    run.report(b, 1, 0.9)
    assert run.report(a, 3, 0.1).action == "go", "the rung at epoch 3 is empty"
    assert run.report(b, 3, 0.05).action == "end"


def test_less_is_better_where_the_mode_is_min() -> None:
    run = asha(mode="min")
    a, b, c = run.start(3)
    run.report(a, 1, 0.5)
    worse = run.report(b, 1, 0.6)
    assert (worse.action, worse.mark) == ("end", Mark(bracket=0, epoch=1, value=0.6, cutoff=0.5, rank=2, of=2))
    assert "number 2 of 2; the best 1/3 have 0.5" in worse.reason
    assert run.report(c, 1, 0.4).action == "go"
    assert run.core.run.best is not None
    assert run.core.run.best.value == 0.4


def test_of_the_rungs_that_a_report_skips_only_the_highest_counts() -> None:
    run = asha()
    a, b, c = run.start(3)
    jump = run.report(a, 5, 0.9)
    assert jump.mark is not None
    assert jump.mark.epoch == 3, "crossed at 5"
    assert run.core.run.rungs.keys() == {(0, 3)}, "epoch 1 was skipped, so it ranks nobody"
    assert run.report(a, 6, 0.1).mark is None, "a rung counts once"
    assert run.report(b, 1, 0.1).action == "go"
    assert run.report(b, 4, 0.2).action == "end"
    jump = run.report(c, 20, 0.0)
    assert jump.mark is not None
    assert jump.mark.epoch == 9


@pytest.mark.parametrize("promote", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_not_finite_ends_as_diverged_and_ranks_nobody(promote: bool, value: float, mode: str) -> None:
    run = asha(mode=mode, promote=promote)
    a, b, c = run.start(3)
    diverged = run.report(a, 1, value)
    assert (diverged.action, diverged.outcome, diverged.mark) == ("end", "diverged", None)
    assert diverged.reason == f"score is {value}"
    assert run.core.run.rungs == {}
    assert run.core.run.best is None
    kept = run.report(b, 1, 0.5).mark
    assert kept is not None
    assert (kept.cutoff, kept.of) == (None, 1)
    if not promote:
        assert run.report(b, 2, value).outcome == "diverged", "between rungs too"
    mark = run.report(c, 1, 0.5).mark
    assert mark is not None
    assert (mark.cutoff, mark.of) == (0.5, 2)


def test_the_last_epoch_ends_a_trial_whatever_its_rank() -> None:
    run = asha(epochs=3)
    a, b = run.start(2)
    run.report(a, 1, 0.5)
    run.report(b, 1, 0.9)
    done = run.report(a, 3, 0.0)
    assert (done.action, done.outcome, done.reason) == ("end", "finished", "epoch 3 is the last")
    assert run.report(b, 4, 0.0).outcome == "finished"
    assert run.core.run.rungs.keys() == {(0, 1)}


def test_saved_epochs_are_the_rungs() -> None:
    assert asha(epochs=27).core.rule.saved_epochs() == {1, 3, 9}


def test_promoting_by_hand() -> None:
    run = asha(promote=True, trials=6)
    names = run.start(6)
    a, b, c, d, e, f = names
    assert run.report(a, 1, 0.1).action == "pause"
    assert run.report(b, 1, 0.2).action == "pause"
    assert run.core.rule.next(run.core.run) is None, "of two nobody is among the best third"
    assert run.report(c, 1, 0.15).action == "pause", "second of three"
    assert run.do(Free()) == Promoted(trial=b, reason="goes on after epoch 1")
    assert run.trial(b).status == "running"
    assert run.do(Free()) is None, "one of three went on, all trials are suggested, and one still trains"
    assert run.report(d, 1, 0.3).action == "go", "first of four goes on without a pause"
    assert run.report(e, 1, 0.05).action == "pause"
    assert run.report(f, 1, 0.01).action == "pause"
    assert run.core.rule.next(run.core.run) is None, "the best two of six, d and b, went on already"


def test_the_highest_rung_and_there_the_best_trial_is_promoted_first() -> None:
    run = asha(promote=True, trials=20)
    names = run.start(18)
    for i, name in enumerate(names[:9]):
        run.report(name, 1, 0.9 - i / 100)  # the first three are the best third, in this order
    # Each was first when it came only for a: b and c wait.
    waiting = [run.do(Free()) for _ in range(3)]
    assert [record.trial for record in waiting if isinstance(record, Promoted)] == names[:3]
    for name, value in zip(names[:3], (0.3, 0.5, 0.4), strict=True):
        run.report(name, 3, value)
    for name in names[9:12]:
        run.report(name, 1, 0.0)
    assert run.trial(names[3]).status == "paused", "fourth of twelve: deserves to go on too"
    assert run.do(Free()) == Promoted(trial=names[1], reason="goes on after epoch 3"), "the higher rung is first"
    assert run.do(Free()) == Promoted(trial=names[3], reason="goes on after epoch 1")


def test_a_promotion_comes_before_a_new_trial_and_new_trials_before_the_end() -> None:
    run = asha(promote=True, trials=4)
    a, b, c = run.start(3)
    for name, value in ((a, 0.1), (b, 0.3), (c, 0.2)):
        run.report(name, 1, value)
    assert run.do(Free()) == Promoted(trial=b, reason="goes on after epoch 1")
    new = run.do(Free())
    assert new is not None
    assert new.kind == "suggested"
    assert run.do(Free()) is None, "two are running, so the paused may still rise"
    run.report("t0003", 1, 0.0)
    assert run.do(Free()) is None
    run.report(b, 27, 0.9)
    ended = [run.do(Free()) for _ in range(3)]
    assert [record.trial for record in ended if isinstance(record, Ended)] == [a, c, "t0003"]
    assert {run.trial(name).outcome for name in (a, c, "t0003")} == {"stopped"}
    assert run.trial(a).reason == "was never among the best at epoch 1"
    assert run.core.run.finished()


def test_promoting_keeps_only_whole_shares() -> None:
    run = asha(promote=True, reduction_factor=2.5)
    names = run.start(5)
    for i, name in enumerate(names):
        assert run.report(name, 1, -i).action == "pause"
        if i < 2:
            assert run.core.rule.next(run.core.run) is None, "int(2 / 2.5) is none"
    first = run.do(Free())
    second = run.do(Free())
    assert [record.trial for record in (first, second) if isinstance(record, Promoted)] == names[:2], "int(5 / 2.5)"
    assert run.core.rule.next(run.core.run) is None
