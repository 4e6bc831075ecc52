"""The best again on fresh seeds: stopped, resumed, crashed, lost, or given more to confirm."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tuner.audit import audit
from tuner.core import confirm
from tuner.core.events import Elapsed, Free, Gone, StopAsked
from tuner.core.records import Asked, Repeated, Session
from tuner.outputs.confirmed import confirmed

from .confirming import flat, noisy, repeat, searched
from .experiments import Hand, experiment, lines, play_on, rebuilt

SMALL: dict[str, Any] = {"budget": {"trials": 6, "epochs": 3}, "confirm": {"top": 3, "seeds": 5}}


@pytest.mark.parametrize("event", [StopAsked(), Elapsed(seconds=7200.0)])
def test_a_stop_and_the_hours_end_the_confirmation_too(event: Any) -> None:
    hand = searched([0.9, 0.8], budget={"trials": 2, "epochs": 2, "hours": 1})
    hand.do(Free())
    hand.do(event)
    run = hand.core.run
    assert run.finished()
    assert hand.do(Free()) is None
    assert run.repeats["t0000-s1"].status == "ended"
    assert run.chosen == run.best_saved
    assert hand.do(event) is None


def test_what_ended_by_the_hours_goes_on_with_more_of_them() -> None:
    hand = searched([0.9, 0.8], budget={"trials": 2, "epochs": 2, "hours": 1})
    hand.do(Free())
    hand.report("t0000-s1", 1, 0.9)
    hand.do(Elapsed(seconds=7200.0))
    hand.take(Asked(budget={"hours": 4.0}))
    names = repeat(hand, flat)
    assert names[:2] == ["t0000-s1", "t0001-s1"]
    assert [report.epoch for report in hand.core.run.repeats["t0000-s1"].reports] == [1, 2]
    assert confirm.winner(hand.core.run) is hand.trial("t0000")


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"confirm": {"seeds": 7}}, [f"t000{n}-s{seed}" for seed in (6, 7) for n in range(2)]),
        ({"confirm": {"top": 3}}, [f"t0002-s{seed}" for seed in range(1, 6)]),
    ],
)
def test_more_to_confirm_keeps_what_is_known(change: dict[str, Any], more: list[str]) -> None:
    hand = searched([0.9, 0.8, 0.7], confirm={"top": 2, "seeds": 5})
    assert len(repeat(hand, flat)) == 10
    hand.take(Asked(settings=change))
    assert not hand.core.run.finished()
    assert repeat(hand, flat) == more


def test_with_more_epochs_the_search_goes_on_first_and_then_the_repeats_do() -> None:
    hand = searched([0.9, 0.8, 0.7], confirm={"top": 2, "seeds": 2})
    repeat(hand, flat)
    hand.take(Asked(budget={"epochs": 4}))
    run = hand.core.run
    while run.is_searching:
        hand.do(Free())
        for trial in list(run.having("running")):
            hand.report(trial.id, trial.epoch + 1, 2.0 if trial.id == "t0002" else flat(trial))
    names = repeat(hand, flat)
    assert names == ["t0002-s1", "t0000-s1", "t0002-s2", "t0000-s2"]
    assert {one.epoch for one in run.repeats.values() if one.of in ("t0000", "t0002")} == {4}
    assert run.repeats["t0001-s1"].epoch == 2
    assert [row.trial for row in confirmed(run)] == ["t0000", "t0002"]


def test_confirmation_can_be_asked_for_when_the_run_is_over() -> None:
    hand = searched([0.9, 0.8, 0.7], confirm=None)
    assert hand.core.run.finished()
    hand.take(Asked(settings={"confirm": {"top": 2, "seeds": 2}}))
    assert len(repeat(hand, flat)) == 4
    assert confirm.winner(rebuilt(hand.spec, hand.records).run) is not None


def test_after_a_crash_at_any_record_the_same_ledger_is_written_and_the_same_trial_wins() -> None:
    spec = experiment(**SMALL, search={"kind": "tpe", "startup": 3})
    whole = noisy(spec, slots=1)
    records = whole.run()
    first = next(i for i, record in enumerate(records) if isinstance(record, Repeated))
    for cut in range(first, len(records)):
        again = noisy(spec, slots=1)
        again.core, again.records = rebuilt(spec, records[:cut]), list(records[:cut])
        count = None if cut % 20 == 0 else cut + 3
        assert lines(again.run(count)) == lines(records[:count]), f"cut after {cut} records"
    assert audit(records, {}).difference == ""


@pytest.mark.parametrize("seed", range(4))
def test_with_losses_and_several_slots_a_resumed_run_is_decided_as_one_that_never_died(seed: int) -> None:
    spec = experiment(**SMALL, scheduler={"kind": "asha", "grace_epochs": 1})
    dice = random.Random(seed)
    curve = lambda params, epoch: params["x"] + 0.3 * dice.gauss(0, 1)  # noqa: E731
    played = play_on(Hand(spec, 3), curve, seed, faults=0.1).records
    cut = next(i for i, record in enumerate(played) if isinstance(record, Repeated)) + 7
    hand = Hand(spec, 3)
    hand.core, hand.records = rebuilt(spec, played[:cut]), list(played[:cut])
    hand.take(Session(attempt=2, host="h", pid=2, slots=2, versions={}))
    records = play_on(hand, curve, seed + 1, faults=0.1).records
    assert audit(records, {}).difference == ""
    assert {record.seed for record in records if isinstance(record, Repeated)} == {1, 2, 3, 4, 5}
    at = next(i for i, record in enumerate(records) if isinstance(record, Repeated) and record.seed == 2)
    changed = [*records[:at], *records[at + 1 :]]
    assert audit(changed, {}).difference


def test_a_lost_repeat_goes_on_from_its_last_checkpoint() -> None:
    hand = searched([0.9, 0.8])
    hand.do(Free())
    one = hand.core.run.repeats["t0000-s1"]
    hand.report(one.id, 1, 0.9)
    hand.do(Gone(trial=one.id, reason="node"))
    assert (one.status, one.checkpoint[1], one.losses) == ("running", 1, 1)
