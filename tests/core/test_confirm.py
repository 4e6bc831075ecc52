"""The best again on fresh seeds: what is repeated, who is dropped, who wins, and what the search hears of it."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from tuner.core import confirm
from tuner.core.events import Failed, Free, StopAsked
from tuner.core.records import Asked, Record, Repeated, Report, Suggested
from tuner.core.state import RunState
from tuner.core.student import error_of_mean, mean, quantile, upper_tail
from tuner.outputs.confirmed import confirmed, probabilities

from .confirming import flat, noisy, repeat, searched
from .experiments import Hand, experiment, lines


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 31])
def test_the_t_distribution_is_scipys(freedom: int) -> None:
    for t in (-4.0, -0.5, 0.0, 0.3, 1.0, 2.5, 40.0, 1e200):
        assert upper_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), abs=1e-12)
    assert quantile(0.025, freedom) == pytest.approx(stats.t.isf(0.025, freedom))


def test_mean_and_its_error_hold_for_any_size_of_number() -> None:
    values = [0.3, 0.1, 0.7]
    for size in (1.0, 1e-300, 1e300, -1e300):
        scaled = [size * value for value in values]
        assert mean(scaled) == pytest.approx(size * mean(values))
        assert error_of_mean(scaled) == pytest.approx(abs(size) * stats.sem(values))
    assert (mean([0.0, 0.0]), error_of_mean([2.0, 2.0])) == (0.0, 0.0)


def test_the_best_are_repeated_seed_by_seed_with_their_own_params() -> None:
    hand = searched([0.1, 0.9, 0.5, 0.7])
    names = repeat(hand, lambda trial: random.Random(trial.id).random())
    assert names[:6] == ["t0001-s1", "t0003-s1", "t0002-s1", "t0001-s2", "t0003-s2", "t0002-s2"]
    run = hand.core.run
    assert {run.repeats[f"t0003-s{seed}"].params["x"] for seed in (1, 2)} == {0.7}
    assert run.finished()
    assert [trial.epoch for trial in run.repeats.values()] == [2] * len(names)


def test_a_fresh_seed_is_shared_by_all_candidates_and_by_no_trial_of_the_search() -> None:
    hand = searched([0.1, 0.9, 0.5, 0.7])
    repeat(hand, flat)
    run = hand.core.run
    seeds = {one.seed: set[int]() for one in run.repeats.values()}
    for one in run.repeats.values():
        seeds[one.seed].add(one.training_seed(0))
    assert {len(found) for found in seeds.values()} == {1}
    assert len(set.union(*seeds.values())) == 5
    assert not set.union(*seeds.values()) & {trial.training_seed(0) for trial in run.trials.values()}


def test_the_search_hears_nothing_of_repeats() -> None:
    parts = {"search": {"kind": "tpe", "startup": 3}, "scheduler": {"kind": "asha", "reduction_factor": 2}}
    without, with_it = (
        noisy(experiment(budget={"trials": 9, "epochs": 4}, confirm=confirms, **parts))
        for confirms in (None, {"top": 2, "seeds": 3})
    )
    before, after = without.run(), with_it.run()
    assert lines(before[1:]) == lines(after[1 : len(before)])
    one, two = without.core.run, with_it.core.run
    assert (one.best, one.rungs, list(one.trials)) == (two.best, two.rungs, list(two.trials))
    assert len(two.repeats) == 6
    with_it.take(Asked(budget={"trials": 12}))
    without.take(Asked(budget={"trials": 12}))
    params = [
        [record.params for record in simulation.run() if isinstance(record, Suggested)]
        for simulation in (without, with_it)
    ]
    assert params[0] == params[1]


def test_trials_that_ended_badly_and_the_same_params_again_are_no_candidates() -> None:
    hand = searched([0.9, 0.9, 0.8], budget={"trials": 6, "epochs": 2})
    (bad, worse, last) = hand.start(3, x=0.95)
    hand.report(bad, 1, 0.95)
    hand.do(Failed(trial=bad, outcome="infeasible", reason="out of memory"))
    hand.report(worse, 1, 0.99)
    hand.report(worse, 2, float("nan"))
    hand.do(StopAsked(trial=last))
    assert [trial.id for trial in confirm.candidates(hand.core.run)] == ["t0000", "t0002"]


def test_a_clear_loser_is_dropped_after_three_seeds_and_its_running_repeat_stops_at_its_next_report() -> None:
    hand = searched([0.9, 0.8, 0.1])
    run = hand.core.run
    wobble = {1: 0.0, 2: 0.01, 3: 0.02, 4: 0.03, 5: 0.04}
    clear = lambda trial: trial.params["x"] + wobble[trial.seed] * (1 + trial.params["x"])  # noqa: E731
    for _ in range(9):
        hand.do(Free())
    hand.do(Free())  # t0000 on seed 4, before anybody knows
    hand.do(Free())
    hand.do(Free())
    for name in [f"t000{n}-s{seed}" for seed in (1, 2, 3) for n in range(3)]:
        for _ in range(2):
            hand.report(name, run.repeats[name].epoch + 1, clear(run.repeats[name]))
    assert list(confirm.race(run).dropped) == ["t0001", "t0002"]
    hand.report("t0002-s4", 1, 0.1)
    assert run.repeats["t0002-s4"].outcome == "stopped"
    assert run.repeats["t0002-s4"].reason.startswith("t0002 is dropped: worse than t0000 on 3 seeds, p ")
    rest = [record for record in iter(lambda: hand.do(Free()), None) if isinstance(record, Repeated)]
    assert [record.trial for record in rest] == ["t0000-s5"]


def test_two_seeds_and_differences_without_spread_drop_nobody() -> None:
    hand = searched([0.9, 0.1])
    names = repeat(hand, flat)
    assert len(names) == 10
    assert confirm.race(hand.core.run).dropped == {}


def test_a_repeat_that_fails_counts_as_the_worst() -> None:
    hand = searched([0.9, 0.8, 0.7])
    run = hand.core.run
    values = lambda trial: float("nan") if trial.id == "t0000-s2" else trial.params["x"]  # noqa: E731
    names = repeat(hand, values)
    assert confirm.race(run).dropped == {"t0000": "failed on 1 of 3 seeds, t0001 on 0"}
    assert "t0000-s4" not in names
    rows = confirmed(run)
    assert [row.trial for row in rows] == ["t0001", "t0002", "t0000"]
    assert rows[0].won
    assert rows[2].values == [0.9, None, 0.9]
    assert rows[2].probability_best == 0.0


def test_a_repeat_that_the_user_stops_counts_for_nothing() -> None:
    hand = searched([0.9, 0.8])
    hand.do(Free())
    hand.do(StopAsked(trial="t0000-s1"))
    repeat(hand, flat)
    assert hand.core.run.finished()
    assert [(row.trial, row.n) for row in confirmed(hand.core.run)] == [("t0000", 4), ("t0001", 5)]


def test_where_all_repeats_fail_the_best_of_the_search_stays() -> None:
    hand = searched([0.9, 0.8])
    repeat(hand, lambda trial: float("inf"))
    run = hand.core.run
    assert run.finished()
    assert confirm.winner(run) is None
    assert run.chosen == run.best_saved
    assert not any(row.won for row in confirmed(run))


def test_a_target_ends_the_search_and_no_repeat() -> None:
    hand = Hand(experiment(budget={"trials": 6, "epochs": 3, "target": 0.8}, confirm={"top": 2, "seeds": 2}))
    a, b = hand.start(2, x=0.0)
    hand.trial(b).params["x"] = 0.5
    hand.report(b, 1, 0.5)
    hand.report(a, 1, 0.9)
    assert hand.core.run.closed == "target"
    assert repeat(hand, lambda trial: 0.95) == [f"{name}-s{seed}" for seed in (1, 2) for name in (a, b)]
    assert {one.epoch for one in hand.core.run.repeats.values()} == {3}
    assert hand.core.run.finished()


def outcomes(count: int) -> list[tuple[RunState, list[Record]]]:
    """Run the same noisy experiment with so many seeds."""
    made = []
    for seed in range(count):
        spec = experiment(budget={"trials": 12, "epochs": 2}, confirm={"top": 3, "seeds": 5}, seed=seed)
        simulation = noisy(spec)
        made.append((simulation.core.run, simulation.run()))
    return made


def test_over_many_runs_the_confirmed_winner_is_better_than_the_lucky_one() -> None:
    better, worse, optimistic, dropped = 0, 0, 0, 0
    runs = outcomes(40)
    for run, records in runs:
        assert run.best is not None
        winner, lucky = confirm.winner(run), run.trials[run.best.trial]
        assert winner is not None
        better += winner.params["x"] > lucky.params["x"]
        worse += winner.params["x"] < lucky.params["x"]
        rows = {row.trial: row for row in confirmed(run)}
        optimistic += (rows[lucky.id].optimism or 0) > 0
        truly = max(confirm.candidates(run), key=flat)
        dropped += bool(rows[truly.id].dropped)
        assert sum(isinstance(record, Report) for record in records) <= (12 + 3 * 5) * 2
    assert better > 1.3 * worse
    assert better + worse > 12
    assert optimistic > 32
    assert dropped <= 0.1 * len(runs)


def test_the_probability_of_being_best_is_that_of_two_t_distributions() -> None:
    ones, others = [0.9, 0.8, 1.0, 0.85], [0.7, 0.95, 0.75, 0.8]
    found = probabilities([ones, others])
    dice = random.Random(0)

    def drawn(values: list[float]) -> float:
        chi = sum(dice.gauss(0, 1) ** 2 for _ in range(3))
        return mean(values) + error_of_mean(values) * dice.gauss(0, 1) / (chi / 3) ** 0.5

    wins = sum(drawn(ones) > drawn(others) for _ in range(20_000)) / 20_000
    assert found[0] == pytest.approx(wins, abs=0.02)
    assert sum(one or 0.0 for one in found) == pytest.approx(1)
    assert probabilities([ones, [0.99, float("-inf")]]) == [1.0, 0.0]
    assert probabilities([ones, [0.99], [0.99, float("-inf")]]) == [None, None, None]
    assert probabilities([[0.5, 0.5], [0.5, 0.5], [0.4, 0.4]]) == [0.5, 0.5, 0.0]
