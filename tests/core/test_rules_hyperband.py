"""Hyperband's brackets: their rungs, their shares, and that no trial is held against another bracket's."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from tuner.core.events import Free
from tuner.core.records import Promoted
from tuner.core.rules.hyperband import Hyperband

from .experiments import Hand, experiment


def hyperband(epochs: int = 27, seed: int = 0, mode: str = "max", **scheduler: Any) -> Hand:
    parts = {"kind": "hyperband", "grace_epochs": 1, "reduction_factor": 3, **scheduler}
    return Hand(
        experiment(
            scheduler=parts,
            seed=seed,
            objective={"metric": "score", "mode": mode},
            budget={"trials": 600, "epochs": epochs},
        )
    )


def rule(run: Hand) -> Hyperband:
    assert isinstance(run.core.rule, Hyperband)
    return run.core.rule


def members(run: Hand, bracket: int, count: int) -> list[str]:
    """Start trials until a bracket has so many, and name those."""
    found: list[str] = []
    while len(found) < count:
        (name,) = run.start(1)
        if rule(run).bracket(run.trial(name).number) == bracket:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("epochs", "parts", "rungs"),
    [
        (27, {}, [[1, 3, 9], [3, 9], [9], []]),
        (28, {}, [[1, 3, 9, 27], [3, 9, 27], [9, 27], [27]]),
        (27, {"brackets": 2}, [[1, 3, 9], [3, 9]]),
        (9, {"brackets": 50}, [[1, 3], [3], []]),
        (16, {"grace_epochs": 2, "reduction_factor": 2}, [[2, 4, 8], [4, 8], [8], []]),
        (1000, {"reduction_factor": 10}, [[1, 10, 100], [10, 100], [100], []]),  # log(1000, 10) is 2.9999999999999996
        (5, {"grace_epochs": 5}, [[]]),
    ],
)
def test_each_bracket_has_a_grace_of_its_own(epochs: int, parts: dict[str, Any], rungs: list[list[int]]) -> None:
    assert rule(hyperband(epochs, **parts)).ladder.brackets == rungs


def test_brackets_share_trials_as_hyperband_does_and_the_seed_decides() -> None:
    run = hyperband(9)
    # s = 2, 1, 0 further halvings: 3^2/3, 3^1/2, 3^0/1 of their sum.
    assert rule(run).shares == pytest.approx([3 / 5.5, 1.5 / 5.5, 1 / 5.5])
    drawn = [rule(run).bracket(number) for number in range(3000)]
    counts = Counter(drawn)
    for bracket, share in enumerate(rule(run).shares):
        assert counts[bracket] / 3000 == pytest.approx(share, abs=0.03)
    same, other = rule(hyperband(9)), rule(hyperband(9, seed=1))
    assert drawn == [same.bracket(number) for number in range(3000)]
    assert drawn != [other.bracket(number) for number in range(3000)]


def test_a_trial_is_held_against_its_own_bracket_only() -> None:
    run = hyperband()
    a, b = members(run, 0, 2)
    c, d = members(run, 1, 2)
    assert run.report(a, 3, 0.9).action == "go"
    first = run.report(c, 3, 0.1)
    assert first.action == "go", "the first of its bracket, though another bracket has 0.9 there"
    assert first.mark is not None
    assert (first.mark.bracket, first.mark.cutoff) == (1, None)
    assert run.report(d, 1, 0.0).mark is None, "epoch 1 is no rung of bracket 1"
    assert run.report(d, 3, 0.05).action == "end"
    assert run.report(b, 3, 0.5).action == "end"
    assert run.core.run.rungs.keys() == {(0, 3), (1, 3)}


def test_the_last_bracket_stops_nobody() -> None:
    run = hyperband()
    a, b = members(run, 3, 2)
    for epoch in range(1, 27):
        assert run.report(a, epoch, 1.0).mark is None
        assert run.report(b, epoch, 0.0).action == "go"
    assert run.report(b, 27, 0.0).outcome == "finished"


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_what_is_not_finite_stays_out(value: float) -> None:
    run = hyperband(mode="min")
    a, b, c = members(run, 1, 3)
    assert run.report(a, 3, value).outcome == "diverged"
    assert run.report(b, 3, 0.5).action == "go"
    assert run.report(c, 4, 0.6).action == "end", "less is better, and a skipped rung counts when it is crossed"


def test_promoting_takes_the_highest_rung_of_any_bracket_first() -> None:
    run = hyperband(promote=True)
    low, high = members(run, 0, 3), members(run, 1, 3)
    for i, name in enumerate(low):
        assert run.report(name, 1, 0.9 - i / 10).action == "pause"
    for i, name in enumerate(high):
        assert run.report(name, 3, 0.1 - i / 100).action == "pause"
    assert run.do(Free()) == Promoted(trial=high[0], reason="goes on after epoch 3")
    assert run.do(Free()) == Promoted(trial=low[0], reason="goes on after epoch 1")
    assert rule(run).next(run.core.run) is None


def test_saved_epochs_are_the_rungs_of_all_brackets() -> None:
    assert rule(hyperband(grace_epochs=2, reduction_factor=2, epochs=16)).saved_epochs() == {2, 4, 8}
