"""Freeze-thaw's process and its posterior, how it ranks, and that the ledger fixes it wherever it is computed."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch  # noqa: F401 - it has an OpenMP
from scipy.optimize import approx_fprime
from threadpoolctl import threadpool_info, threadpool_limits

from tuner.audit import audit
from tuner.core.records import Suggested
from tuner.core.search import joint
from tuner.core.search.blas import ONE_THREAD
from tuner.core.search.joint import Rows
from tuner.core.search.points import Points
from tuner.core.search.posterior import Posterior
from tuner.core.search.thaw import FreezeThaw
from tuner.simulate import Simulation

from .experiments import CONDITIONAL, auto, curve, decides_alike_in_threads, play

pytestmark = pytest.mark.slow


def some_rows(n: int, columns: int, seed: int = 0) -> tuple[Rows, np.ndarray[Any, Any]]:
    dice = np.random.default_rng(seed)
    rows = Rows(dice.random((n, columns)), dice.random(n), dice.integers(0, n // 2, n))
    return rows, dice.standard_normal(n)


def test_the_gradient_of_the_evidence_is_that_of_its_differences() -> None:
    rows, y = some_rows(40, 5)
    evidence = joint._Evidence(rows, y, np.array([0, 1, 2, 2, 3]))
    numbers = joint.start(4) + np.random.default_rng(1).normal(0, 0.2, 16)
    near = approx_fprime(numbers, lambda at: evidence(at)[0], 1e-6)
    assert evidence(numbers)[1] == pytest.approx(near, abs=1e-3)


def test_rows_and_columns_one_by_one_give_what_all_at_once_do() -> None:
    rows, y = some_rows(90, 4)
    kernel = joint.unpack(joint.start(4), np.arange(4))
    columns = Rows(np.random.default_rng(2).random((80, 4)), np.ones(80), np.arange(80))
    whole = Posterior(kernel, rows, columns)
    grown = Posterior(kernel, rows.part(np.arange(5)), columns.part(np.arange(3)))
    grown.append(rows.part(np.arange(0)))
    for i in range(5, 90, 5):
        for some in (np.arange(i, i + 1), np.arange(i + 1, i + 5)):
            grown.append(rows.part(some))
        if i == 30:
            grown.put(np.arange(3, 80), columns.part(np.arange(3, 80)))
    assert grown.means(y) == pytest.approx(whole.means(y))
    assert grown.deviations() == pytest.approx(whole.deviations())
    # And both are the textbook's: k* K^-1 y, and k** - k* K^-1 k*.
    cov = kernel(rows, rows) + (kernel.noise + joint.JITTER) * np.eye(90)
    across = kernel(columns, rows)
    assert whole.means(y) == pytest.approx(across @ np.linalg.solve(cov, y))
    left = kernel.variance(columns.s) - (across * np.linalg.solve(cov, across.T).T).sum(1)
    assert whole.deviations() ** 2 == pytest.approx(left)


def test_points_keep_what_is_near_near() -> None:
    points = Points(auto(space=CONDITIONAL).space)
    for i in range(200):
        params = points.draw(0, "draw", i)
        near = points.near(params, 0, "near", i)
        for one in (params, near):
            assert set(one) == {name for name, dimension in points.space.items() if dimension.active(one)}
            assert all(points.space[name].contains(value) for name, value in one.items())
            assert ((points.of(one) >= 0) & (points.of(one) <= 1)).all()
    assert points.draw(0, "draw", 1) == points.draw(0, "draw", 1) != points.draw(1, "draw", 1)


def test_where_and_when_a_fit_is_computed_changes_nothing() -> None:
    spec = auto()
    hand = play(spec, curve, slots=3, seed=1, faults=0.05)
    decides_alike_in_threads(spec, hand.records, range(20, len(hand.records), 37))
    assert audit(hand.records, {}).difference == ""


def test_what_breaks_a_constraint_ranks_behind_all_that_does_not_by_how_much_it_does() -> None:
    asker = FreezeThaw(auto(constraints={"latency": "<= 5"}))
    metrics = [(-1e9, 5.0), (3.0, 6.0), (9.0, 70.0), (math.nan, 1.0)]
    scores = [asker.score({"score": value, "latency": latency}) for value, latency in metrics]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    assert scores[-1] == -math.inf < scores[-2]


def test_a_trial_of_an_earlier_run_that_diverged_ranks_last() -> None:
    known = {"run": "a", "params": {"lr": 0.1, "momentum": 0.9, "layers": 3}, "last_epoch": 20, "comparable": True}
    learned = [
        {**known, "trial": "t0", "epochs": [1, 2, 4], "values": [5.0, 6.0, 7.0], "diverged": True},
        {**known, "trial": "t1", "epochs": [1, 20], "values": [0.1, 0.2]},
    ]
    seen = FreezeThaw(auto(start={"runs": ["a"], "learned": learned})).model.seen
    scores, _ = seen.values()
    assert list(zip(seen.trial, seen.epochs, strict=True)) == [(-2, 1), (-2, 5), (-3, 1), (-3, 20)]
    assert scores.argmin() == 1


def test_what_was_learned_is_used_from_the_first_trial_on() -> None:
    known = {"run": "a", "last_epoch": 20, "comparable": True, "epochs": [1, 20]}
    params = [{"lr": 10 ** -(1 + i / 4), "momentum": 0.6 + i / 40, "layers": 3} for i in range(10)]
    learned = [{**known, "trial": f"t{i}", "params": p, "values": [0.1, i / 10]} for i, p in enumerate(params)]
    for count, is_enough in ((7, False), (10, True)):
        asker = FreezeThaw(auto(start={"runs": ["a"], "learned": learned[:count]}))
        assert asker.model.is_ready is is_enough, "two rows each, sixteen are needed"


def test_an_audit_sees_that_a_trial_was_sent_elsewhere() -> None:
    records = Simulation(auto(trials=10), curve, slots=2).run()
    place = next(i for i, record in enumerate(records) if isinstance(record, Suggested))
    sent = replace(records[place], attributes={"rung": 7, "straight": "model"})
    assert audit([*records[:place], sent], {}).difference


def threads_of(kind: str) -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == kind}


def test_decisions_are_computed_in_one_thread_of_blas_and_others_get_theirs_back() -> None:
    seen: list[set[int]] = []

    class Watched(FreezeThaw):
        def _by_chance(self, number: int, straight: str = "") -> Any:
            seen.append(threads_of("blas"))
            return super()._by_chance(number, straight)

    with threadpool_limits(2, user_api="blas"):
        Simulation(auto(trials=6), curve, slots=2, asker=Watched(auto(trials=6))).run()
        assert threads_of("blas") == {2}
    assert seen
    assert all(threads == {1} for threads in seen)


def test_who_is_out_last_keeps_its_own_threads_of_openmp() -> None:
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with ONE_THREAD:
            entered.set()
            leave.wait()

    with threadpool_limits(7, user_api="openmp"):  # of this thread: the other has as many as there are cores
        other = threading.Thread(target=first)
        other.start()
        entered.wait()
        with ONE_THREAD:
            leave.set()
            other.join()
        assert threads_of("openmp") == {7}
