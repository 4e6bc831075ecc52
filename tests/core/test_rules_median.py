"""The median rule: best value so far against the median of the others' running means."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.core.records import Mark

from .experiments import Hand, experiment


def median(mode: str = "max", **scheduler: Any) -> Hand:
    parts = {"kind": "median", "grace_epochs": 1, "min_trials": 3, **scheduler}
    return Hand(experiment(scheduler=parts, objective={"metric": "score", "mode": mode}))


def test_by_hand() -> None:
    run = median()
    a, b, c, d = run.start(4)
    for name, values in ((a, (0.2, 0.4)), (b, (0.5, 0.7)), (c, (0.1, 0.9))):
        for epoch, value in enumerate(values, start=1):
            assert run.report(name, epoch, value).mark is None, "fewer than three others got as far"
    first = run.report(d, 1, 0.2)
    assert first.action == "go", "as good as the median of 0.2, 0.5, 0.1"
    assert first.mark == Mark(bracket=0, epoch=1, value=0.2, cutoff=0.2, rank=2, of=4)
    stopped = run.report(d, 2, 0.15)
    # Means 0.3, 0.6, 0.5; the trial's best is 0.2, at epoch 1.
    assert (stopped.action, stopped.outcome) == ("end", "stopped")
    assert stopped.mark == Mark(bracket=0, epoch=2, value=0.15, cutoff=0.5, rank=4, of=4)
    assert stopped.reason == "best score 0.2 up to epoch 2 is worse than the median 0.5 of 3 other trials"


def test_an_even_number_of_others_has_its_median_in_the_middle() -> None:
    run = median(min_trials=2)
    a, b, c, d = run.start(4)
    run.report(a, 1, 0.25)
    run.report(b, 1, 0.5)
    kept = run.report(c, 1, 0.375)
    assert kept.action == "go"
    assert kept.mark is not None
    assert kept.mark.cutoff == 0.375
    assert run.report(d, 1, 0.37).action == "end"


def test_less_is_better_where_the_mode_is_min() -> None:
    run = median(mode="min", min_trials=1)
    a, b, c = run.start(3)
    run.report(a, 1, 0.5)
    assert run.report(b, 1, 0.4).action == "go"
    stopped = run.report(c, 1, 0.6)
    assert (stopped.action, stopped.mark) == ("end", Mark(bracket=0, epoch=1, value=0.6, cutoff=0.45, rank=3, of=3))
    assert "best score 0.6" in stopped.reason
    assert "median 0.45" in stopped.reason


def test_the_best_value_counts_though_the_present_one_is_bad() -> None:
    run = median(min_trials=1)
    a, b = run.start(2)
    run.report(a, 1, 0.5)
    run.report(a, 2, 0.5)
    run.report(b, 1, 0.8)
    assert run.report(b, 2, 0.0).action == "go"


def test_grace_epochs_stop_nobody_and_stay_out_of_the_means_but_not_out_of_the_best() -> None:
    run = median(grace_epochs=3, min_trials=1)
    a, b, c = run.start(3)
    for epoch, value in ((1, 9.0), (2, 9.0), (3, 0.5)):
        run.report(a, epoch, value)
    assert run.report(b, 2, 0.0).mark is None
    assert run.report(b, 3, 0.5).action == "go", "held against 0.5, the mean from epoch 3 on"
    run.report(c, 1, 0.6)
    kept = run.report(c, 3, 0.1)
    assert kept.action == "go", "its best is 0.6, of epoch 1"


def test_only_those_that_got_as_far_count_and_only_up_to_this_epoch() -> None:
    run = median(min_trials=2)
    a, b, c, d = run.start(4)
    run.report(a, 1, 0.5)
    run.report(a, 5, 0.0)  # epochs may be skipped
    run.report(b, 1, 0.4)
    assert run.report(c, 2, 0.3).mark is None, "b has not reached epoch 2"
    run.report(b, 2, 0.4)
    decided = run.report(d, 2, 0.1)
    # a up to epoch 2: 0.5; b: 0.4; c: 0.3.
    assert decided.mark is not None
    assert (decided.mark.cutoff, decided.mark.of) == (0.4, 4)


def test_stopped_and_finished_trials_still_count() -> None:
    run = median(min_trials=3)
    a, b, c, d, e = run.start(5)
    for name, value in ((a, 0.5), (b, 0.6), (c, 0.7)):
        run.report(name, 1, value)
    assert run.report(d, 1, 0.1).outcome == "stopped"
    mark = run.report(e, 1, 0.9).mark
    assert mark is not None
    assert mark.of == 5
    assert mark.cutoff == pytest.approx(0.55)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_out_of_every_median(value: float) -> None:
    run = median(min_trials=1)
    a, b, c, d = run.start(4)
    assert run.report(a, 1, value).outcome == "diverged"
    assert run.report(b, 1, 0.5).mark is None, "a is no other trial to be held against"
    run.report(c, 1, 0.7)
    assert run.report(c, 2, value).outcome == "diverged"
    decided = run.report(d, 2, 0.1)
    assert decided.action == "end"
    assert decided.mark is not None
    assert decided.mark.cutoff == 0.7


def test_nothing_is_paused_and_nothing_saved_for_its_sake() -> None:
    run = median()
    assert run.core.rule.next(run.core.run) is None
    assert run.core.rule.saved_epochs() == frozenset()
