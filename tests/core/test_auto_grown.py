"""A run of freeze-thaw that is over and gets more: trials, epochs, a harder target."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.audit import audit
from tuner.core.records import Asked, Session
from tuner.errors import UserError
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.extension import changes

from .experiments import Hand, auto, curve, play_on

pytestmark = pytest.mark.slow


def test_a_larger_budget_lets_those_go_on_that_had_finished() -> None:
    spec = auto(trials=20, epochs=9)
    hand = Hand(spec, slots=2)
    simulation = Simulation(spec, curve, slots=2)
    for record in simulation.run()[2:]:
        hand.take(record)
    assert hand.core.run.finished()
    hand.take(Asked(budget={"trials": 60, "epochs": 20}))
    hand.take(Session(attempt=2, host="h", pid=2, slots=2, versions={}))
    play_on(hand, curve, faults=0.0)
    assert hand.core.run.best is not None
    assert hand.trial(hand.core.run.best.trial).epoch == 20
    assert audit(hand.records, {}).difference == ""


def finished(spec: Experiment, by: Any = curve) -> Hand:
    hand = Hand(spec, slots=2)
    for record in Simulation(spec, by, slots=2).run()[2:]:
        hand.take(record)
    assert hand.core.run.finished()
    return hand


def test_a_run_that_reached_its_target_goes_on_with_a_harder_one() -> None:
    hand = finished(auto(budget={"trials": 20, "epochs": 9, "target": 0.3}))
    assert hand.core.run.reached
    hand.take(Asked(budget={"target": 0.999, "trials": 30}))
    hand.take(Session(attempt=2, host="h", pid=2, slots=2, versions={}))
    play_on(hand, curve, faults=0.0)
    assert audit(hand.records, {}).difference == ""


def test_the_epochs_of_all_trials_may_grow_and_must_where_the_budget_does() -> None:
    old = auto(search={"kind": "auto", "epochs": 33})
    more = old.with_parts({"search": {"epochs": 66}})
    assert changes(old, more, is_over=True) == {"search": {"epochs": 66}}
    with pytest.raises(UserError, match="must have a larger budget"):
        changes(old, more, is_over=True, closed="target")
    with pytest.raises(UserError, match=r"search\.epochs: must be above 33, as the budget is, .*epochs=66, say"):
        changes(old, old.with_parts({"budget": {"trials": 90}}))
    with pytest.raises(UserError, match="must grow with the budget where all 60 trials are begun and have ended"):
        changes(old, more, begun=60, is_over=True)
    assert changes(old, more.with_parts({"budget": {"trials": 90}}), begun=60, is_over=True)
    hand = finished(old)
    hand.take(Asked(settings={"search": {"epochs": 66}}))
    play_on(hand, curve, faults=0.0)
    assert sum(trial.epoch for trial in hand.core.run.trials.values()) >= 66


def test_a_larger_budget_brings_new_trials_whatever_the_best_one_was_trained_beyond_the_old() -> None:
    old = auto(trials=8, epochs=9)
    hand = finished(old)
    hand.take(Asked(budget={"trials": 10}))
    hand.take(Session(attempt=2, host="h", pid=2, slots=2, versions={}))
    trained = sum(trial.epoch for trial in hand.core.run.trials.values())
    play_on(hand, curve, faults=0.0)
    assert len(hand.core.run.trials) > 8
    more = hand.spec.with_parts({"budget": {"trials": 10}}).total_epochs - old.total_epochs  # type: ignore[operator]
    assert sum(trial.epoch for trial in hand.core.run.trials.values()) >= trained + more


@pytest.mark.parametrize("change", [{"resources": {"cpus": 2}}, {"search": {"epochs": 90}}])
def test_what_a_grown_budget_has_left_outlasts_another_change(change: dict[str, Any]) -> None:
    hand = finished(auto(search={"kind": "auto", "epochs": 60}, trials=12, epochs=27))
    hand.take(Asked(settings={"search": {"epochs": 75}}))
    run = hand.core.run
    left = 75 + run.overshoot - sum(trial.epoch for trial in run.trials.values())
    assert left == 15
    before = run.spec.total_epochs
    hand.take(Asked(settings=change))
    assert run.spec.total_epochs is not None and before is not None
    more = run.spec.total_epochs - before
    assert run.spec.total_epochs + run.overshoot - sum(trial.epoch for trial in run.trials.values()) == left + more
