"""The best again on fresh seeds, at its edges: nobody to repeat, ends of every kind, rounding, larger budgets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.core import confirm
from tuner.core.events import Due, Elapsed, Failed, Free, Gone, Returned, StopAsked
from tuner.core.gpus import Gpus
from tuner.core.records import Asked, Ended, Promoted, Repeated, Suggested
from tuner.core.run import MAX_LOSSES
from tuner.core.trial import TrialState
from tuner.outputs.confirmed import confirmed, head
from tuner.simulate import Simulation

from .confirming import flat, repeat, searched
from .experiments import Hand, experiment, rebuilt


def begin(hand: Hand) -> str:
    """Begin the next repeat, or go on with one; returns its name."""
    record = hand.do(Free())
    assert isinstance(record, Repeated | Promoted)
    return record.trial


def search_on(hand: Hand) -> None:
    """Let the search go on to its end."""
    while hand.core.run.is_searching:
        hand.do(Free())
        for trial in [one for one in hand.core.run.having("running") if not one.of]:
            hand.report(trial.id, trial.epoch + 1, flat(trial))


def test_where_every_trial_failed_there_is_nobody_to_repeat() -> None:
    hand = Hand(experiment(budget={"trials": 2, "epochs": 2}, confirm={"top": 2, "seeds": 5}))
    for name in hand.start(2, x=0.5):
        hand.do(Failed(trial=name, outcome="failed", reason="ValueError: x"))
    assert hand.core.run.finished()
    assert hand.do(Free()) is None
    assert confirm.race(hand.core.run).candidates == []


def test_a_repeat_whose_function_returns_early_after_a_larger_budget_is_settled() -> None:
    hand = searched([0.9], confirm={"top": 1, "seeds": 2})
    assert len(repeat(hand, flat)) == 2
    hand.take(Asked(budget={"epochs": 4}))
    search_on(hand)
    for seed in (1, 2):
        assert begin(hand) == f"t0000-s{seed}"
        hand.do(Returned(trial=f"t0000-s{seed}"))
    assert hand.do(Free()) is None
    assert hand.core.run.finished()
    assert confirm.winner(hand.core.run) is hand.trial("t0000")


@pytest.mark.parametrize("n", [10, 30, 360, 1000])
def test_differences_that_are_the_same_but_for_rounding_drop_nobody(n: int) -> None:
    for step in (1, 3, 7):
        leader = [k / n for k in (8, 9, 10)]
        assert confirm.worse([value - step / n for value in leader], leader) == 1.0
        assert confirm.worse([(k - step) / n for k in (8, 9, 10)], leader) == 1.0
    assert confirm.worse([0.90001, 0.90002, 0.90001], [0.90101, 0.90101, 0.90102]) < 0.001


@pytest.mark.parametrize(("event", "kinds"), [(Elapsed(seconds=7200.0), "hours"), (StopAsked(), "asked")])
def test_with_more_hours_a_confirmation_after_the_target_goes_on_and_not_the_search(event: Any, kinds: str) -> None:
    hand = Hand(
        experiment(budget={"trials": 6, "epochs": 3, "target": 0.8, "hours": 1}, confirm={"top": 2, "seeds": 2})
    )
    hand.report(hand.start(1, x=0.5)[0], 1, 0.5)
    hand.report(hand.start(1, x=0.9)[0], 1, 0.9)
    hand.report(begin(hand), 1, 0.9)
    hand.do(event)
    assert hand.core.run.closed == kinds
    hand.take(Asked(budget={"hours": 9.0}))
    assert hand.core.run.closed == "target"
    assert repeat(hand, flat) == ["t0001-s1", "t0000-s1", "t0001-s2", "t0000-s2"]
    assert hand.trial("t0000").outcome == "stopped"
    assert confirm.winner(rebuilt(hand.spec, hand.records).run) is not None


@pytest.mark.parametrize("more", [{"trials": 7}, {"epochs": 4}, {"target": 0.95}])
def test_with_more_trials_epochs_or_a_harder_target_the_search_goes_on(more: dict[str, Any]) -> None:
    hand = Hand(experiment(budget={"trials": 6, "epochs": 3, "target": 0.8}, confirm={"top": 2, "seeds": 2}))
    hand.report(hand.start(1, x=0.9)[0], 1, 0.9)
    begin(hand)
    hand.do(StopAsked())
    hand.take(Asked(budget=more))
    assert hand.core.run.closed == ""
    assert hand.trial("t0000").status == "running"
    assert isinstance(hand.do(Free()), Suggested)


def test_one_with_a_value_wins_over_one_without_any() -> None:
    hand = searched([0.9, 0.8], confirm={"top": 2, "seeds": 2})
    while isinstance(record := hand.do(Free()), Repeated):
        if record.of == "t0000":
            hand.do(StopAsked(trial=record.trial))
        else:
            hand.report(record.trial, 1, 0.8)
            hand.report(record.trial, 2, 0.8 if record.seed == 1 else math.nan)
    rows = confirmed(hand.core.run)
    assert [(row.trial, row.won, row.n) for row in rows] == [("t0001", True, 1), ("t0000", False, 0)]


def test_where_nobody_has_a_value_that_is_said() -> None:
    hand = searched([0.9, 0.8], confirm={"top": 2, "seeds": 2})
    while isinstance(record := hand.do(Free()), Repeated):
        hand.do(StopAsked(trial=record.trial))
    run = hand.core.run
    assert head(run, confirmed(run)) == "Not confirmed: no repeat gave a value"
    assert not confirm.is_pending(run)


def test_a_trial_that_the_user_stopped_is_no_candidate() -> None:
    hand = searched([0.5], budget={"trials": 2, "epochs": 2})
    (name,) = hand.start(1, x=0.9)
    hand.report(name, 1, 0.9)
    hand.do(StopAsked(trial=name))
    assert [trial.id for trial in confirm.candidates(hand.core.run)] == ["t0000"]


@pytest.mark.parametrize(("cause", "outcome", "score"), [("worker", "lost", None), ("stalled", "stalled", -math.inf)])
def test_a_repeat_whose_workers_die_counts_for_nothing_and_one_that_hangs_as_the_worst(
    cause: Any, outcome: str, score: float | None
) -> None:
    hand = searched([0.9, 0.8])
    name = begin(hand)
    for _ in range(MAX_LOSSES[cause] + 1):
        hand.do(Gone(trial=name, reason="x", cause=cause))
    one = hand.trial(name)
    assert (one.outcome, confirm.score_of(hand.core.run, one)) == (outcome, score)


def test_nothing_is_foreseen_of_a_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("too_much", "too_much_in_parts"):
        monkeypatch.setattr(Gpus, name, lambda *args: 2**40)
    hand = searched([0.9, 0.8], budget={"trials": 3, "epochs": 2}, resources={"gpus": "auto"})
    (last,) = hand.start(1, x=0.7)
    assert isinstance(hand.core.decide(Due(trial=last)), Ended)
    hand.report(last, 2, 0.7)
    assert hand.core.decide(Due(trial=begin(hand))) is None


def test_the_chance_to_drop_one_is_shared_by_those_that_are_left() -> None:
    hand = searched([0.9, 0.8, 0.7])
    behind = {1: 1.0, 2: 2.0, 3: 3.0, 4: 0.5, 5: 9.0}  # p 0.037 on three seeds, 0.030 on four

    def value(trial: TrialState) -> float:
        return math.nan if trial.of == "t0002" else 10.0 - (behind[trial.seed] if trial.of == "t0001" else 0.0)

    repeat(hand, value)
    dropped = confirm.race(hand.core.run).dropped
    assert dropped["t0002"] == "failed on 3 of 3 seeds, t0000 on 0"
    assert dropped["t0001"] == "worse than t0000 on 4 seeds, p 0.03"


def test_the_simulator_goes_on_with_repeats_after_a_target() -> None:
    spec = experiment(budget={"trials": 6, "epochs": 3, "target": 0.0}, confirm={"top": 1, "seeds": 4})
    simulation = Simulation(spec, lambda params, epoch: 1.0, slots=2)
    simulation.run()
    assert simulation.core.run.finished()
    assert simulation.clock == 1 + 4 * 3 / 2, "an epoch of the search, and those of the repeats on two slots"


def test_only_a_missing_confirmation_is_made_up() -> None:
    spec = experiment()
    assert (
        spec.with_parts({"confirm": {"seeds": 7}}).confirm
        == spec.with_parts({"confirm": {"top": 3, "seeds": 7}}).confirm
    )
    with pytest.raises(AttributeError):
        spec.with_parts({"storage": {}})
