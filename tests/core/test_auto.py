"""Freeze-thaw: the process and its posterior, what the ledger fixes, and how a run of it goes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from threadpoolctl import threadpool_info, threadpool_limits

from tuner.audit import audit
from tuner.core.events import Free
from tuner.core.records import Asked, Ended, Promoted, Record, Report, Session, Suggested
from tuner.core.rules.thaw import thaw_epochs
from tuner.core.run import Core
from tuner.core.search import joint, thaw
from tuner.core.search.joint import Rows
from tuner.core.search.points import Points
from tuner.core.search.pool import SIZE
from tuner.core.search.posterior import Posterior
from tuner.core.search.thaw import FreezeThaw
from tuner.errors import UserError
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment, halved_epochs
from tuner.spec.extension import changes

from .experiments import CONDITIONAL, PLAIN, Hand, curve, experiment, play, play_on, rebuilt

pytestmark = pytest.mark.slow

AUTO: dict[str, Any] = {"kind": "auto"}


def auto(seed: int = 0, trials: int = 60, epochs: int = 20, **parts: Any) -> Experiment:
    usual = {"space": PLAIN, "search": AUTO, "scheduler": AUTO, "seed": seed}
    return experiment(**{**usual, "budget": {"trials": trials, "epochs": epochs}, **parts})


def some_rows(n: int, columns: int, seed: int = 0) -> tuple[Rows, np.ndarray[Any, Any]]:
    dice = np.random.default_rng(seed)
    rows = Rows(dice.random((n, columns)), dice.random(n), dice.integers(0, n // 2, n))
    return rows, dice.standard_normal(n)


def test_the_gradient_of_the_evidence_is_that_of_its_differences() -> None:
    rows, y = some_rows(40, 5)
    evidence = joint._Evidence(rows, y, np.array([0, 1, 2, 2, 3]))
    numbers = joint.start(4) + np.random.default_rng(1).normal(0, 0.2, 12)
    near = approx_fprime(numbers, lambda at: evidence(at)[0], 1e-6)
    assert evidence(numbers)[1] == pytest.approx(near, abs=1e-3)


def test_rows_and_columns_one_by_one_give_what_all_at_once_do() -> None:
    rows, y = some_rows(90, 4)
    kernel = joint.unpack(joint.start(4), np.arange(4))
    columns = Rows(np.random.default_rng(2).random((80, 4)), np.ones(80), np.arange(80))
    whole = Posterior(kernel, rows, columns)
    grown = Posterior(kernel, rows.part(np.arange(5)), columns.part(np.arange(3)))
    for i in range(5, 90):
        grown.append(rows.part(np.array([i])))
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


@pytest.mark.parametrize(("last", "rungs"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 3, 4, 5, 6, 7, 9])])
def test_rungs_lie_close_and_end_with_the_last_epoch(last: int, rungs: list[int]) -> None:
    assert thaw_epochs(last) == rungs


def test_it_trains_as_many_epochs_as_halving_would_and_brings_the_best_to_the_end() -> None:
    spec = auto()
    assert halved_epochs(20) == pytest.approx(1 + 2 / 3 + 6 / 9 + 11 / 27)
    assert spec.total_epochs == math.ceil(60 * halved_epochs(20))
    simulation = Simulation(spec, curve, slots=4)
    simulation.run()
    run = simulation.core.run
    assert run.finished()
    trained = sum(trial.epoch for trial in run.trials.values())
    assert spec.total_epochs <= trained <= spec.total_epochs + 4 * 5 + 20
    assert run.best is not None
    assert run.trials[run.best.trial].epoch == 20
    assert {trial.outcome for trial in run.trials.values()} == {"finished", "stopped"}
    waited = [trial.reason for trial in run.trials.values() if trial.outcome == "stopped"]
    assert all("when the run had trained its" in reason for reason in waited)


def test_the_epochs_of_all_trials_may_be_given() -> None:
    spec = auto(search={"kind": "auto", "epochs": 33})
    run = Simulation(spec, curve, slots=1).run()
    reports = [record for record in run if isinstance(record, Report)]
    assert len({report.trial for report in reports[33:]}) <= 1, "the best one alone goes on"
    assert 33 <= len(reports) <= 33 + 20


def test_a_trial_goes_on_without_a_pause_where_it_would_be_chosen_anyway() -> None:
    records = Simulation(auto(), curve, slots=2).run()
    marked = [record.decision.action for record in records if isinstance(record, Report) and record.decision.mark]
    assert marked.count("go") > 10
    assert marked.count("pause") > 10
    assert any(isinstance(record, Promoted) for record in records)


def smooth(params: Mapping[str, Any], epoch: int) -> float:
    """Learn towards a height that falls with the distance from lr 0.01 and momentum 0.9, the faster the better."""
    away = (math.log10(params["lr"]) + 2) ** 2 + (10 * (params["momentum"] - 0.9)) ** 2
    return -away - 3 * 0.8**epoch


def best_of(spec: Experiment, budget: int) -> float:
    reports = [record for record in Simulation(spec, smooth, slots=4).run() if isinstance(record, Report)]
    assert len(reports) >= budget
    return max(report.metrics["score"] for report in reports[:budget])


def test_it_finds_more_than_chance_with_the_same_epochs() -> None:
    ours = [best_of(auto(seed), 160) for seed in range(4)]
    random = {"search": {"kind": "random"}, "scheduler": {"kind": "asha"}}
    others = [best_of(auto(seed, 200, **random), 160) for seed in range(4)]
    assert statistics.fmean(ours) > statistics.fmean(others) + 0.05


def rebuilt_in_threads(spec: Experiment, records: list[Record], pool: ThreadPoolExecutor) -> Core:
    asker = FreezeThaw(spec)
    asker.model.later = lambda job: pool.submit(job).result
    core = Core(spec, asker)
    for record in records:
        core.apply(record)
    return core


def test_where_and_when_a_fit_is_computed_changes_nothing() -> None:
    spec = auto()
    hand = play(spec, curve, slots=3, seed=1, faults=0.05)
    with ThreadPoolExecutor(1) as pool:
        for cut in range(20, len(hand.records), 37):
            at_need, ahead = rebuilt(spec, hand.records[:cut]), rebuilt_in_threads(spec, hand.records[:cut], pool)
            assert at_need.asker.model.is_ready == ahead.asker.model.is_ready  # type: ignore[attr-defined]
            free = [core.rule.next(core.run) for core in (at_need, ahead)]
            assert free[0] == free[1]
            both = [core.decide(Free()) for core in (at_need, ahead)]
            assert both[0] == both[1]
    assert audit(hand.records, {}).difference == ""


def test_conditions_choices_failures_and_divergence_are_borne() -> None:
    def diverging(params: Mapping[str, Any], epoch: int) -> float:
        value = curve(params, epoch)
        return math.nan if int(value * 1e6) % 11 == 0 else value

    hand = play(auto(space=CONDITIONAL), diverging, slots=3, seed=2, faults=0.08)
    suggested = [record for record in hand.records if isinstance(record, Suggested)]
    for record in suggested:
        assert set(record.params) == {n for n, d in hand.spec.space.items() if d.active(record.params)}
        assert all(hand.spec.space[name].values[i] == record.params[name] for name, i in record.choices.items())  # type: ignore[union-attr]
    outcomes = {trial.outcome for trial in hand.core.run.trials.values()}
    assert {"failed", "diverged", "stopped", "finished"} <= outcomes
    assert audit(hand.records, {}).difference == ""


def test_points_to_start_with_come_first_and_what_they_leave_open_is_drawn() -> None:
    spec = auto(start={"points": [{"lr": 0.01, "momentum": 0.9}, {"layers": 3}]})
    first, second, *_ = [r for r in Simulation(spec, curve, slots=2).run() if isinstance(r, Suggested)]
    assert (first.params["lr"], first.params["momentum"]) == (0.01, 0.9)
    assert 1 <= first.params["layers"] <= 8
    assert second.params["layers"] == 3
    assert second.params.keys() == PLAIN.keys()


def test_one_trial_and_one_epoch_are_a_run_too() -> None:
    for trials, epochs in ((1, 1), (1, 9), (5, 1)):
        records = Simulation(auto(trials=trials, epochs=epochs), curve, slots=2).run()
        reports = [record for record in records if isinstance(record, Report)]
        assert len({report.trial for report in reports}) == trials
        assert not any(isinstance(record, Ended) and record.outcome == "failed" for record in records)
        assert reports[-1].epoch == epochs


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


def straights(records: list[Record]) -> dict[str, str]:
    """Collect the trials that run to the end without a pause, and by what each was chosen."""
    found = [record for record in records if isinstance(record, Suggested)]
    return {record.trial: record.attributes["straight"] for record in found if "straight" in record.attributes}


def epochs_of(records: list[Record], trials: Any) -> int:
    return sum(isinstance(record, Report) and record.trial in trials for record in records)


def test_a_tenth_of_the_epochs_runs_straight_to_the_end_by_chance_and_by_the_model_in_turn() -> None:
    records = Simulation(auto(trials=200, epochs=10), smooth, slots=3).run()
    chosen = straights(records)
    assert list(chosen.values()) == ["chance", "model"] * 2
    assert not any(isinstance(record, Promoted) and record.trial in chosen for record in records)
    for trial in chosen:
        epochs = [record.epoch for record in records if isinstance(record, Report) and record.trial == trial]
        assert epochs == list(range(1, 11))


def crossing(params: Mapping[str, Any], epoch: int) -> float:
    """Learn the faster the worse the end is."""
    end = (math.log10(params["lr"]) + 4) / 4
    return -(0.5 * end + math.exp(-epoch / 20 / (0.03 + 0.6 * (1 - end))))


def straight_share(by: Any, seed: int) -> float:
    records = Simulation(auto(seed=seed, trials=200), by, slots=3).run()
    return epochs_of(records, straights(records)) / epochs_of(records, {f"t{i:04d}" for i in range(200)})


def test_half_of_the_epochs_do_while_one_by_chance_is_the_best_of_all() -> None:
    misled, right = (statistics.mean(straight_share(by, seed) for seed in (0, 1, 2)) for by in (crossing, smooth))
    assert right <= 0.12
    assert misled > 2 * right


def level(params: Mapping[str, Any], epoch: int) -> float:
    """Stay level for two thirds of the training; only then the params tell."""
    return smooth(params, 20) if epoch > 13 else -3.0


def brought_to_the_end(seed: int) -> int:
    """Count the trials that the model brings to the end where the first epochs tell nothing."""
    records = Simulation(auto(seed=seed, trials=200), level, slots=3).run()
    ends = {record.trial for record in records if isinstance(record, Report) and record.epoch == 20}
    return len(ends - straights(records).keys())


def test_where_the_first_epochs_tell_nothing_trials_are_brought_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with_all = sum(map(brought_to_the_end, (1, 2, 3)))
    monkeypatch.setattr(thaw, "WHOLE", 0.0)
    assert with_all > 4 * sum(map(brought_to_the_end, (1, 2, 3)))


def test_what_breaks_a_constraint_ranks_behind_all_that_does_not_by_how_much_it_does() -> None:
    asker = FreezeThaw(auto(constraints={"latency": "<= 5"}))
    metrics = [(-1e9, 5.0), (3.0, 6.0), (9.0, 70.0), (math.nan, 1.0)]
    scores = [asker.score({"score": value, "latency": latency}) for value, latency in metrics]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4
    assert scores[-1] == -math.inf < scores[-2]


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


def test_the_candidates_stay_as_many_as_they_were() -> None:
    simulation = Simulation(auto(trials=150), smooth, slots=4)
    simulation.run()
    assert isinstance(simulation.core.asker, FreezeThaw)
    assert len(simulation.core.asker.pool.candidates) >= SIZE - 1


def test_the_best_that_can_be_trained_to_the_end_is_where_the_best_of_all_diverged() -> None:
    spec = auto(trials=30, epochs=20)
    first = Simulation(spec, smooth, slots=1)
    first.run()
    assert first.core.run.best is not None
    lost = first.core.run.trials[first.core.run.best.trial].params

    def diverging(params: Mapping[str, Any], epoch: int) -> float:
        return math.nan if params == lost and epoch == 15 else smooth(params, epoch)

    again = Simulation(spec, diverging, slots=1)
    again.run()
    assert again.core.run.best is not None
    assert again.core.run.trials[again.core.run.best.trial].outcome == "diverged"
    assert any(trial.epoch == 20 for trial in again.core.run.trials.values())


def test_the_epochs_of_all_trials_may_grow_and_must_where_the_budget_does() -> None:
    old = auto(search={"kind": "auto", "epochs": 33})
    more = old.with_parts({"search": {"epochs": 66}})
    assert changes(old, more, is_over=True) == {"search": {"epochs": 66}}
    with pytest.raises(UserError, match=r"search\.epochs"):
        changes(old, old.with_parts({"budget": {"trials": 90}}))
    hand = finished(old)
    hand.take(Asked(settings={"search": {"epochs": 66}}))
    play_on(hand, curve, faults=0.0)
    assert sum(trial.epoch for trial in hand.core.run.trials.values()) >= 66


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


def test_an_audit_sees_that_a_trial_was_sent_elsewhere() -> None:
    records = Simulation(auto(trials=10), curve, slots=2).run()
    place = next(i for i, record in enumerate(records) if isinstance(record, Suggested))
    sent = replace(records[place], attributes={"rung": 7, "straight": "model"})
    assert audit([*records[:place], sent], {}).difference


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


def threads_of_blas() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_decisions_are_computed_in_one_thread_of_blas_and_others_get_theirs_back() -> None:
    seen: list[set[int]] = []

    class Watched(FreezeThaw):
        def _by_chance(self, number: int, straight: str = "") -> Any:
            seen.append(threads_of_blas())
            return super()._by_chance(number, straight)

    with threadpool_limits(2, user_api="blas"):
        Simulation(auto(trials=6), curve, slots=2, asker=Watched(auto(trials=6))).run()
        assert threads_of_blas() == {2}
    assert seen
    assert all(threads == {1} for threads in seen)
