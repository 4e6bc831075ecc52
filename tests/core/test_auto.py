"""Freeze-thaw: how a run of it goes, what it finds, and which trials it brings to the end."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import pytest

from tuner.audit import audit
from tuner.core.records import Ended, Promoted, Report, Suggested
from tuner.core.rules.thaw import thaw_epochs
from tuner.core.search import thaw
from tuner.core.search.pool import SIZE
from tuner.core.search.thaw import FreezeThaw
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment, halved_epochs

from .experiments import CONDITIONAL, PLAIN, auto, begun, curve, play, smooth

pytestmark = pytest.mark.slow


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


def best_of(spec: Experiment, budget: int) -> float:
    reports = [record for record in Simulation(spec, smooth, slots=4).run(3 * budget) if isinstance(record, Report)]
    assert len(reports) >= budget
    return max(report.metrics["score"] for report in reports[:budget])


def test_it_finds_more_than_chance_with_the_same_epochs() -> None:
    ours = [best_of(auto(seed), 160) for seed in range(12)]
    random = {"search": {"kind": "random"}, "scheduler": {"kind": "asha"}}
    others = [best_of(auto(seed, 200, **random), 160) for seed in range(12)]
    assert statistics.fmean(ours) > statistics.fmean(others) + 0.05


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


def test_new_trials_wait_until_those_that_were_begun_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = auto(trials=500, search={"kind": "auto", "epochs": 1000})
    most = most_begun(spec, slots=4)
    assert 1000 <= most * math.sqrt(20) <= 1000 + (thaw.AHEAD + 1) * 20 + 4 * math.sqrt(20)
    monkeypatch.setattr(thaw, "AHEAD", math.inf)
    assert most_begun(spec, slots=4) > 1.2 * most


def test_where_none_is_paused_a_new_trial_waits_for_nothing() -> None:
    spec = auto(trials=200, epochs=1)
    simulation = Simulation(spec, smooth, slots=50)
    simulation.fill()
    assert simulation.busy == 50
    simulation.run()
    assert len({str(trial.params) for trial in simulation.core.run.trials.values()}) == 200


def test_those_that_diverged_keep_no_new_trial_waiting() -> None:
    def often(params: Mapping[str, Any], epoch: int) -> float:
        return math.nan if params["momentum"] < 0.85 else smooth(params, epoch)

    spec = auto(trials=500, search={"kind": "auto", "epochs": 600})
    simulation = Simulation(spec, often, slots=4)
    simulation.run()
    outcomes = [trial.outcome for trial in simulation.core.run.trials.values()]
    assert outcomes.count("diverged") > 30, "else it is no test"
    assert len(outcomes) * math.sqrt(20) > 600 + (thaw.AHEAD + 1) * 20


def most_begun(spec: Experiment, slots: int) -> int:
    return begun(Simulation(spec, smooth, slots).run())


def test_the_candidates_stay_as_many_as_they_were() -> None:
    simulation = Simulation(auto(trials=150), smooth, slots=4)
    simulation.run()
    assert isinstance(simulation.core.asker, FreezeThaw)
    assert SIZE - 5 <= len(simulation.core.asker.pool.candidates) <= SIZE, "some of the new ones were tried"


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


def test_a_run_in_which_none_ends_well_trains_no_more_than_one_training_beyond_its_epochs() -> None:
    def fails(params: Mapping[str, Any], epoch: int) -> float:
        return math.nan if epoch >= 15 else curve(params, epoch)

    run = Simulation(auto(), fails, slots=4)
    run.run()
    trained = sum(trial.epoch for trial in run.core.run.trials.values())
    assert run.core.run.finished()
    assert trained <= auto().total_epochs + 20 + 4 * 20


def test_a_right_prior_helps_and_a_wrong_one_is_made_up_for() -> None:
    def best_after(epochs: int, **priors: float) -> float:
        found = []
        for seed in range(4):
            space = {name: {**PLAIN[name], **({"prior": priors[name]} if name in priors else {})} for name in PLAIN}
            records = Simulation(auto(seed, space=space), smooth, slots=4).run(3 * epochs)
            reports = [record for record in records if isinstance(record, Report)]
            found.append(max(report.metrics["score"] for report in reports[:epochs]))
        return statistics.mean(found)

    right, wrong = {"lr": 0.012, "momentum": 0.88}, {"lr": 0.8, "momentum": 0.5}
    assert best_after(60, **right) > best_after(60) + 0.1
    assert best_after(160, **wrong) > best_after(160) - 0.1


SMALL = {
    "batch": {"dist": "choice", "values": [16, 32, 64]},
    "lr": {"dist": "choice", "values": [1e-4, 1e-3, 1e-2]},
    "optimizer": {"dist": "choice", "values": ["sgd", "adam"]},
}


def test_of_many_workers_one_finishes_although_the_best_diverged() -> None:
    def late(params: Mapping[str, Any], epoch: int) -> float:
        return math.nan if epoch >= 18 and smooth(params, 20) > -0.12 else smooth(params, epoch)

    run = Simulation(auto(trials=200), late, slots=64)
    run.run()
    assert {"diverged", "finished"} <= {trial.outcome for trial in run.core.run.trials.values()}


@pytest.mark.parametrize(("trials", "epochs", "slots"), [(40, 4, 2), (60, 6, 30), (200, 2, 64)])
def test_a_space_of_few_points_is_tried_whole_before_any_is_tried_again(trials: int, epochs: int, slots: int) -> None:
    def value(params: Mapping[str, Any], epoch: int) -> float:
        return params["lr"] * 10 + params["batch"] / 64 - 2 * 0.6**epoch

    simulation = Simulation(auto(trials=trials, epochs=epochs, space=SMALL), value, slots=slots)
    simulation.run()
    assert simulation.core.run.finished()
    tried = [tuple(trial.params.values()) for trial in simulation.core.run.trials.values()]
    assert len(set(tried[:18])) == 18
