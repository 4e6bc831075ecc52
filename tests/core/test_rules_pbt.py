"""PBT: who clones whom, from which checkpoint, and how members take turns."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tuner.core.events import Free, Gone
from tuner.core.records import Clone, Decision, Mark, Promoted, Report
from tuner.core.rules.mutate import mutate
from tuner.core.trial import TrialState
from tuner.simulate import Simulation

from .populations import pbt, population, spec


def cloned(decision: Decision) -> Clone:
    assert decision.clone is not None
    return decision.clone


def test_the_lowest_clones_the_highest() -> None:
    run = pbt()
    a, b, c, d = population(run)
    assert run.report(a, 1, 0.4) == Decision(
        action="go", mark=Mark(bracket=0, epoch=1, value=0.4, cutoff=None, rank=1, of=1)
    )
    # The lower of two and the lowest of three are a quantile of one.
    assert [run.report(name, 1, value).action for name, value in ((b, 0.3), (c, 0.2))] == ["clone", "clone"]
    decision = run.report(d, 1, 0.1)
    assert decision.action == "clone"
    clone = cloned(decision)
    assert (clone.donor, clone.epoch) == (a, 1)
    assert clone.checkpoint == f"trials/{a}/checkpoints/g0_e0001_a1.0"
    assert decision.mark is not None
    assert (decision.mark.rank, decision.mark.of, decision.mark.cutoff) == (4, 4, 0.2)
    assert decision.reason == f"number 4 of 4: goes on from {a} at epoch 1"
    member = run.trial(d)
    assert (member.params, member.generation, member.epoch) == (clone.params, 1, 1)
    assert member.checkpoint == (clone.checkpoint, 1)
    assert member.status == "running"


@pytest.mark.parametrize(
    ("quantile", "members", "lower"),
    [(0.25, 4, 1), (0.25, 5, 2), (0.25, 8, 2), (0.5, 4, 2), (0.5, 5, 2), (0.01, 4, 1), (0.5, 3, 1), (0.25, 2, 1)],
)
def test_a_quantile_is_rounded_up_but_never_more_than_half(quantile: float, members: int, lower: int) -> None:
    """The last of so many reports a value of each rank in turn."""
    clones = []
    for rank in range(members):
        run = pbt(trials=members, slots=members, quantile=quantile)
        *others, last = population(run)
        for i, name in enumerate(others):
            # Without a checkpoint nobody can be cloned, so that the marks stay as they are.
            run.report(name, 1, 10.0 * i, checkpoint=False)
        for name in others:
            run.report(name, 2, run.trial(name).reports[0].metrics["score"])
        decision = run.report(last, 2, 10.0 * rank - 5.0)
        clones.append(decision.clone is not None)
        if decision.clone is not None:
            assert decision.clone.donor in others[len(others) - lower :]
    assert clones == [rank < lower for rank in range(members)]


def test_every_one_of_the_highest_is_a_donor_at_times() -> None:
    donors = Counter()
    for seed in range(40):
        run = pbt(trials=8, slots=8, seed=seed)
        *others, last = population(run)
        for i, name in enumerate(others):
            run.report(name, 1, float(i))
        donors[cloned(run.report(last, 1, -1.0)).donor] += 1
    assert set(donors) == {"t0005", "t0006"}
    assert min(donors.values()) > 8


def test_less_is_better_where_the_mode_is_min() -> None:
    run = pbt(mode="min")
    a, b, c, d = population(run)
    for name, value in ((a, 0.1), (b, 0.2), (c, 0.3)):
        run.report(name, 1, value)
    decision = run.report(d, 1, 0.9)
    assert cloned(decision).donor == a
    assert decision.mark is not None
    assert (decision.mark.rank, decision.mark.cutoff) == (4, 0.3)


def test_alone_or_equal_in_score_the_order_of_suggestion_decides() -> None:
    run = pbt(trials=2, slots=2)
    a, b = population(run)
    assert run.report(b, 1, 0.5).clone is None, "alone"
    assert cloned(run.report(a, 1, 0.5)).donor == b, "of equals the first is the lower, as in Ray"
    run = pbt(trials=2, slots=2)
    a, b = population(run)
    run.report(a, 1, 0.5)
    assert run.report(b, 1, 0.5).clone is None


def test_only_intervals_count_and_once_each_though_reports_skip_them() -> None:
    run = pbt(interval_epochs=3)
    a, *_ = population(run)
    marked = [epoch for epoch in (1, 2, 4, 5, 6, 7, 8, 13, 14, 15) if run.report(a, epoch, 0.5).mark]
    assert marked == [4, 6, 13, 15]
    assert run.core.rule.saved_epochs() == {3, 6, 9, 12, 15, 18}


def test_a_clone_that_falls_back_is_not_compared_again_before_it_is_further_than_ever() -> None:
    """So each member is compared at most once an interval, and a run cannot go round in circles."""
    run = pbt(trials=2, slots=2)
    a, b = population(run)
    run.report(a, 1, 0.9)
    assert cloned(run.report(b, 3, 0.1)).epoch == 1
    assert [run.report(b, epoch, 0.1).mark is None for epoch in (2, 3, 4)] == [True, True, False]


def test_a_clone_that_jumps_ahead_is_compared_at_its_next_interval() -> None:
    run = pbt(trials=2, slots=2, interval_epochs=2)
    a, b = population(run)
    for epoch in (1, 2, 3, 4):
        run.report(a, epoch, 0.9)
    assert cloned(run.report(b, 2, 0.1)).epoch == 4
    assert [run.report(b, epoch, 0.1).mark is None for epoch in (5, 6)] == [True, False]


def test_a_donor_gives_its_newest_checkpoint_and_its_present_params() -> None:
    run = pbt(trials=3, slots=3)
    a, b, c = population(run)
    run.report(a, 1, 0.9)
    run.report(b, 1, 0.8)  # clones a
    assert run.trial(b).generation == 1
    run.report(b, 2, 0.99)
    run.report(b, 3, 0.99, checkpoint=False)
    clone = cloned(run.report(c, 1, 0.1))
    assert (clone.donor, clone.epoch, clone.checkpoint) == (b, 2, f"trials/{b}/checkpoints/g1_e0002_a1.0")
    assert run.trial(c).epoch == 2
    # Where a donor has nothing newer, what it was itself cloned from is its checkpoint.
    assert run.trial(c).checkpoint == (clone.checkpoint, 2)


def test_a_donor_without_a_checkpoint_is_not_cloned() -> None:
    run = pbt(trials=2, slots=2)
    a, b = population(run)
    run.report(a, 1, 0.9, checkpoint=False)
    decision = run.report(b, 1, 0.1)
    assert (decision.action, decision.clone) == ("go", None)


def test_mutated_values_are_kept_in_reports_losses_and_clones_of_clones() -> None:
    run = pbt(trials=3, slots=3)
    a, b, c = population(run)
    run.report(a, 1, 0.9)
    params = cloned(run.report(b, 1, 0.1)).params
    assert params != run.trial(a).params
    run.do(Gone(trial=b, reason="node"))
    assert run.trial(b).checkpoint == (f"trials/{a}/checkpoints/g0_e0001_a1.0", 1), "goes on from the donor"
    run.report(b, 2, 2.0)
    assert run.trial(b).params == params
    assert run.core.run.best is not None
    assert (run.core.run.best.trial, run.core.run.best.params) == (b, params)
    parent = TrialState(id=b, number=1, params=params, choices={})
    clone = cloned(run.report(c, 1, 0.0))
    assert clone.donor == b
    assert (clone.params, clone.choices) == mutate(run.spec, parent, (c, 0, 1)), "mutated from the mutated"


def test_reports_of_the_generation_before_a_clone_change_nothing() -> None:
    run = pbt(trials=2, slots=2)
    a, b = population(run)
    run.report(a, 1, 0.9)
    late = run.reported(b, 2, 0.2)
    assert run.report(b, 1, 0.1).action == "clone"
    assert run.do(late) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_leaves_the_population(value: float) -> None:
    run = pbt(trials=3, slots=3)
    a, b, c = population(run)
    run.report(a, 1, 0.9)
    assert run.report(a, 2, value).outcome == "diverged"
    mark = run.report(b, 1, 0.5).mark
    assert mark is not None
    assert mark.of == 1
    assert cloned(run.report(c, 1, 0.1)).donor == b


def test_with_fewer_slots_the_members_take_turns() -> None:
    run = pbt(trials=3, slots=1)
    assert run.do(Free()) is not None
    assert run.report("t0000", 1, 0.5).action == "pause"
    run.do(Free())
    assert list(run.core.run.trials) == ["t0000", "t0001"], "first the population is complete"
    assert run.report("t0001", 1, 0.1).action == "pause"
    lower = run.trial("t0001")
    assert lower.clone is not None, "paused with a clone, for later"
    assert lower.status == "paused"
    run.do(Free())
    assert run.report("t0002", 1, 0.6).action == "pause"
    assert run.do(Free()) == Promoted(trial="t0000", reason="goes on after epoch 1")
    run.report("t0000", 2, 0.7)
    assert run.do(Free()) == Promoted(trial="t0001", reason="goes on after epoch 1"), "the furthest behind"
    assert run.core.run.trials["t0001"].params == lower.clone.params


def test_simulated_turns_are_even_and_end_at_the_last_epoch() -> None:
    sim = Simulation(spec(5, interval_epochs=2), lambda params, epoch: params["lr"] * epoch, slots=2)
    records = sim.run()
    ahead = dict.fromkeys(sim.core.run.trials, 0)
    gaps = set()
    for record in records:
        if isinstance(record, Report):
            clone = record.decision.clone
            ahead[record.trial] = clone.epoch if clone else record.epoch
            if record.epoch > 2:
                gaps.add(max(ahead.values()) - min(ahead.values()))
    assert max(gaps) <= 4, "nobody is more than two intervals ahead"
    assert {trial.outcome for trial in sim.core.run.trials.values()} == {"finished"}
    assert {trial.epoch for trial in sim.core.run.trials.values()} == {20}
    assert any(trial.generation for trial in sim.core.run.trials.values())
