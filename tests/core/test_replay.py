"""What if: recorded curves under another scheduler are what that scheduler would have made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tuner.core.events import Event, Free, Reported, Returned
from tuner.core.records import Asked, Record, Report
from tuner.core.trial import TrialState
from tuner.replay import Curves, what_if
from tuner.simulate import Simulation
from tuner.spec.alternative import alternative

from .experiments import Hand, experiment, play, rebuilt
from .replays import SCHEDULERS, SMALL, crossing, replayed, scheduler, simulation, values


@pytest.mark.parametrize("name", SCHEDULERS)
def test_its_own_settings_are_replayed_to_what_was(name: str) -> None:
    made = simulation(name)
    curves = Curves(made.records)
    found = what_if(curves, curves.run.spec)
    assert found.workers == 3
    assert replace(found.was, seconds=made.clock) == found.same == found.other
    assert found.was.decisions > 0 or name == "none"


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "none"])
def test_a_run_of_whole_curves_tells_what_another_scheduler_would_have_done(name: str) -> None:
    course, played = replayed(Curves(simulation("none").records), scheduler(name))
    truth = simulation(name)
    reports = [(one.trial, one.epoch, one.decision) for one in truth.records if isinstance(one, Report)]
    assert [(one.trial, one.epoch, one.decision) for one in played.records if isinstance(one, Report)] == reports
    assert course.seconds == truth.clock
    assert truth.core.run.best is not None
    assert (course.value, course.trial) == (truth.core.run.best.value, truth.core.run.best.trial)
    assert course.epochs < 12 * 9
    assert (course.carried_epochs, course.uncertain) == (0, 0)


def test_what_is_not_recorded_is_counted_and_never_found() -> None:
    made = simulation("asha")
    curves = Curves(made.records)
    course, played = replayed(curves, "scheduler.kind=none")
    trained = sum(trial.epoch for trial in made.core.run.trials.values())
    assert course.epochs == 12 * 9
    assert course.carried_epochs == 12 * 9 - trained > 0
    assert course.carried_trials == sum(trial.epoch < 9 for trial in made.core.run.trials.values())
    assert made.core.run.best is not None
    assert course.value == made.core.run.best.value
    for trial in played.core.run.trials.values():
        last = made.core.run.trials[trial.id]
        assert {one.metrics["score"] for one in trial.reports[last.epoch :]} <= {last.reports[-1].metrics["score"]}
    known = {(one.trial, one.epoch) for one in made.records if isinstance(one, Report)}
    assert (course.trial, course.epoch) in known


def test_decisions_that_hang_on_it_are_counted() -> None:
    run = Hand(experiment(budget={"trials": 4, "epochs": 4}, scheduler={"kind": "none"}), slots=2)
    names = [record.trial for _ in range(4) if (record := run.do(Free())) is not None]
    for name, value in zip(names, (0.4, 0.3, 0.2, 0.1), strict=True):
        for epoch in range(1, 3 if name == "t0001" else 5):
            run.report(name, epoch, value)
    found = what_if(
        curves := Curves(run.records),
        alternative(curves.run.spec, ["scheduler={kind: asha, grace_epochs: 3, reduction_factor: 2}"], 4),
    )
    # Two at a time: t0001 comes to epoch 3 after t0000, by a value that is not recorded; two more are held against it.
    assert (found.other.decisions, found.other.uncertain) == (4, 3)
    assert (found.other.carried_trials, found.other.carried_epochs) == (1, 1)
    assert found.other.stopped == 3
    assert found.best.stopped == 2
    assert (found.best.carried_epochs, found.worst.carried_epochs) == (2, 1)


def test_trials_end_of_themselves_where_they_did() -> None:
    hand = play(experiment(budget=SMALL), crossing, seed=1, faults=0.2)
    outcomes = [(trial.outcome, trial.epoch) for trial in hand.core.run.trials.values()]
    assert {outcome for outcome, _ in outcomes} >= {"failed", "finished"}
    course, played = replayed(Curves(hand.records), "budget.target=9")
    assert [(trial.outcome, trial.epoch) for trial in played.core.run.trials.values()] == outcomes
    assert course.carried_epochs == 0


def test_a_function_that_returned_and_one_that_diverged_end_there() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9}), slots=2)
    for _ in range(2):
        run.do(Free())
    run.report("t0000", 2, 0.5)
    run.report("t0000", 4, 0.6)
    run.do(Returned(trial="t0000"))
    run.report("t0001", 1, math.nan)
    course, played = replayed(Curves(run.records), "scheduler.kind=median")
    assert [trial.outcome for trial in played.core.run.trials.values()] == ["finished", "diverged"]
    assert [one.epoch for one in played.core.run.trials["t0000"].reports] == [2, 4]
    assert (course.value, course.epochs, course.carried_epochs) == (0.6, 5, 0)


def test_a_live_run_is_replayed_as_far_as_it_is_recorded() -> None:
    records: list[Record] = simulation("none").records[:40]
    curves = Curves(records)
    begun = len(curves.run.trials)
    assert begun < 12
    course, _ = replayed(curves, "scheduler.kind=asha")
    assert course.begun == len(curves.trials) <= begun


def test_limits_hold_in_the_virtual_clock_and_no_target_is_reached_by_what_is_not_recorded() -> None:
    curves = Curves(simulation("asha").records)
    best = max(values(curves))
    course, played = replayed(curves, "scheduler.kind=none", f"budget.hours={10 / 3600}")
    assert course.seconds == pytest.approx(10)
    assert played.core.run.closed == "hours"
    course, played = replayed(curves, "scheduler.kind=none", f"budget.target={best + 1e-9}")
    assert played.core.run.closed == ""
    course, played = replayed(curves, "scheduler.kind=none", f"budget.target={sorted(values(curves))[-5]}")
    assert played.core.run.closed == "target"
    assert course.value is not None
    assert course.value >= sorted(values(curves))[-5]


def test_repeats_on_fresh_seeds_are_no_part_of_it() -> None:
    made = simulation("asha", confirm={"top": 2, "seeds": 2})
    assert len(made.core.run.repeats) == 4
    curves = Curves(made.records)
    found = what_if(curves, curves.run.spec)
    assert found.was.epochs == found.same.epochs == sum(trial.epoch for trial in made.core.run.trials.values())
    assert (found.was.begun, found.was.decisions) == (12, found.same.decisions)


def test_a_budget_that_has_grown_is_the_replays_from_the_start() -> None:
    made = simulation("asha", budget={"trials": 12, "epochs": 3})
    made.core = rebuilt(made.spec, made.records)
    made.take(Asked(budget={"epochs": 9}))
    made.run()
    curves = Curves(made.records)
    course, played = replayed(curves, "scheduler.kind=none")
    assert (course.epochs, course.to_the_end) == (12 * 9, 12)
    assert course.carried_epochs == 12 * 9 - sum(trial.epoch for trial in made.core.run.trials.values())
    assert played.core.run.tops == {}


class Limited(Simulation):
    """Trials that also report how long an answer of theirs takes."""

    def event(self, trial: TrialState) -> Event:
        event = super().event(trial)
        assert isinstance(event, Reported)
        return replace(event, metrics={**event.metrics, "ms": 10 * trial.params["x"]})


@pytest.mark.parametrize("kind", ["none", "asha"])
def test_what_breaks_a_constraint_is_never_found(kind: str) -> None:
    spec = experiment(budget=SMALL, scheduler=SCHEDULERS[kind], constraints={"ms": "<= 4"})
    made = Limited(spec, lambda params, epoch: params["x"] * epoch, slots=3)
    curves = Curves(made.run())
    assert max(10 * trial.params["x"] for trial in curves.trials) > 4
    best = made.core.run.best
    assert best is not None
    found = what_if(curves, alternative(spec, ["scheduler.kind=median"], 12))
    assert (found.was.trial, found.was.value, found.was.rank) == (best.trial, best.value, 1)
    assert found.same == replace(found.was, seconds=made.clock)
    for course in (found.other, found.worst, found.best):
        assert course.trial == "" or 10 * made.core.run.trials[course.trial].params["x"] <= 4
    # One that the rule stopped, or that is infeasible at its last epoch, did not end of itself.
    course, _ = replayed(curves, "scheduler.kind=none") if kind == "asha" else replayed(curves, "budget.trials=5")
    assert course.epochs == 9 * course.begun


def test_several_objectives_are_replayed_and_all_of_them_are_the_worst_or_the_best_where_none_is_recorded() -> None:
    both = [{"metric": "score", "mode": "max"}, {"metric": "ms", "mode": "min"}]
    spec = experiment(budget=SMALL, objective=both, scheduler={"kind": "asha", "by": "nondomination"})
    curves = Curves(Limited(spec, crossing, slots=3).run())
    found = what_if(curves, alternative(spec, ["scheduler.reduction_factor=2"], 12))
    assert found.same == replace(found.was, seconds=found.same.seconds)
    worst, best = curves.ends()
    assert worst["ms"] > max(10 * trial.params["x"] for trial in curves.trials)
    assert best["ms"] < min(10 * trial.params["x"] for trial in curves.trials)
    assert worst["score"] < min(values(curves)) < max(values(curves)) < best["score"]


def test_fewer_trials_are_the_first_ones() -> None:
    made = simulation("none")
    course, played = replayed(Curves(made.records), "budget.trials=5")
    assert course.begun == 5
    assert [trial.params for trial in played.core.run.trials.values()] == [
        made.core.run.trials[f"t000{number}"].params for number in range(5)
    ]
