"""What closes a run, what changes nothing, what is lost and goes on; a resume at any record decides the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from tuner.core.events import Elapsed, Event, Failed, Free, Gone, Reported, Returned, StopAsked
from tuner.core.records import Asked, Ended, Lost, Promoted, Report, Suggested, Tick
from tuner.core.run import MAX_LOSSES
from tuner.simulate import Simulation

from .experiments import PLAIN, Hand, curve, experiment, lines, play, rebuilt, resumed, simulate


def hand(slots: int = 100, **budget: Any) -> Hand:
    return Hand(experiment(budget={"trials": 6, "epochs": 9, **budget}), slots)


def pausing() -> Hand:
    """A run with one trial in each status: t0 paused, t1 running, t2 ended."""
    run = Hand(experiment(scheduler={"kind": "asha", "promote": True}, budget={"trials": 6, "epochs": 9, "hours": 2.0}))
    a, _, c = run.start(3)
    run.report(a, 1, 0.5)
    run.do(Returned(trial=c))
    assert [trial.status for trial in run.core.run.trials.values()] == ["paused", "running", "ended"]
    return run


def test_the_target_ends_the_whole_run() -> None:
    for mode, values in (("max", (0.89, 0.9, 0.5)), ("min", (0.91, 0.9, 1.0))):
        run = Hand(
            experiment(
                scheduler={"kind": "asha", "promote": True},
                objective={"metric": "score", "mode": mode},
                budget={"trials": 6, "epochs": 9, "target": 0.9},
            )
        )
        a, b, c = run.start(3)
        assert not run.report(a, 1, values[0]).target, "not yet"
        run.report(c, 1, values[2])
        hit = run.report(b, 1, values[1])
        assert (hit.action, hit.outcome, hit.target) == ("end", "finished", True)
        assert hit.reason == "score 0.9 reaches the target 0.9"
        assert run.core.run.closed == "target"
        assert [run.trial(name).outcome for name in (a, b, c)] == ["stopped", "finished", "stopped"]
        assert run.trial(a).reason == "budget.target is reached"


def test_a_value_that_is_not_finite_reaches_no_target() -> None:
    run = hand(target=0.9)
    (a,) = run.start(1)
    assert run.report(a, 1, math.inf).outcome == "diverged"
    assert not run.core.run.closed


def test_hours_end_the_run_at_the_tick_that_reaches_them() -> None:
    run = pausing()
    assert run.do(Elapsed(seconds=7199.9)) is None
    assert run.do(Elapsed(seconds=7200.0)) == Tick(elapsed=7200.0)
    assert run.core.run.closed == "hours"
    assert [trial.outcome for trial in run.core.run.trials.values()] == ["stopped", "stopped", "failed"]
    assert run.trial("t0001").reason == "budget.hours is reached"


def test_without_hours_time_ends_nothing() -> None:
    run = hand()
    run.start(1)
    assert run.do(Elapsed(seconds=1e12)) is None


def test_a_stop_of_the_run_kills_all_that_live() -> None:
    run = pausing()
    assert run.do(StopAsked()) == Asked(trial=None)
    assert run.core.run.closed == "asked"
    assert [trial.outcome for trial in run.core.run.trials.values()] == ["killed", "killed", "failed"]
    assert run.trial("t0000").reason == "the user stopped the run"


def test_a_stop_of_one_trial_leaves_the_others() -> None:
    run = pausing()
    assert run.do(StopAsked(trial="t0001")) == Asked(trial="t0001")
    assert [trial.outcome for trial in run.core.run.trials.values()] == [None, "killed", "failed"]
    assert run.core.run.closed == ""
    assert run.do(StopAsked(trial="t0001")) is None, "it ended already"
    assert run.do(Free()) is not None


@pytest.mark.parametrize("ending", [Elapsed(seconds=7200.0), StopAsked()], ids=["hours", "asked"])
def test_a_closed_run_takes_in_nothing_more(ending: Event) -> None:
    run = pausing()
    late = run.reported("t0001", 1, 0.5)
    run.do(ending)
    assert run.core.run.finished(), "although three of six trials were never begun"
    events: list[Event] = [Free(), late, ending, StopAsked(), StopAsked(trial="t0001"), Elapsed(seconds=1e9)]
    events += [Returned(trial="t0001"), Gone(trial="t0001", reason="x")]
    events += [Failed(trial="t0001", outcome="failed", reason="x")]
    assert [run.core.decide(event) for event in events] == [None] * len(events)


def test_a_run_is_finished_when_all_trials_ended_and_not_before() -> None:
    run = hand(trials=2, epochs=1)
    assert not run.core.run.finished()
    run.do(Free())
    run.report("t0000", 1, 0.5)
    assert not run.core.run.finished(), "one more is to come"
    run.do(Free())
    assert not run.core.run.finished()
    run.report("t0001", 1, 0.5)
    assert run.core.run.finished()
    assert run.do(Free()) is None


def test_a_known_epoch_an_old_generation_and_an_ended_trial_change_nothing() -> None:
    run = hand()
    a, b = run.start(2)
    run.report(a, 2, 0.5)
    assert run.do(run.reported(a, 2, 0.9)) is None
    assert run.do(run.reported(a, 1, 0.9)) is None
    stale = Reported(trial=a, generation=1, epoch=3, metrics={"score": 0.9})
    assert run.do(stale) is None, "a generation that is not there yet"
    assert run.core.run.best is not None
    assert run.core.run.best.value == 0.5
    run.do(Failed(trial=b, outcome="failed", reason="x"))
    for event in (run.reported(b, 1, 0.9), Returned(trial=b), Gone(trial=b, reason="x")):
        assert run.do(event) is None
    assert run.trial(b).outcome == "failed"


def test_a_paused_trial_takes_in_no_report() -> None:
    run = pausing()
    assert run.do(run.reported("t0000", 2, 0.9)) is None


def test_a_lost_trial_goes_on_from_its_newest_checkpoint() -> None:
    run = hand()
    (a,) = run.start(1)
    run.report(a, 1, 0.5)
    run.report(a, 2, 0.6, checkpoint=False)
    assert run.do(Gone(trial=a, reason="node died")) == Lost(trial=a, reason="node died")
    trial = run.trial(a)
    assert (trial.status, trial.epoch, trial.losses) == ("running", 2, 1)
    assert trial.checkpoint == (f"trials/{a}/checkpoints/g0_e0001_a1.0", 1)
    assert run.do(run.reported(a, 2, 0.6)) is None, "trained again, known already"
    assert run.report(a, 3, 0.7).action == "go"


def test_a_trial_that_is_lost_too_often_without_a_new_report_is_given_up() -> None:
    run = hand()
    (a,) = run.start(1)
    for _ in range(MAX_LOSSES["worker"]):
        assert isinstance(run.do(Gone(trial=a, reason="node")), Lost)
    run.report(a, 1, 0.5)
    for _ in range(MAX_LOSSES["worker"]):
        assert isinstance(run.do(Gone(trial=a, reason="node")), Lost), "it got on in between"
    assert run.do(run.reported(a, 1, 0.5)) is None, "a known epoch is no progress"
    ended = run.do(Gone(trial=a, reason="node"))
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.reason) == ("lost", "lost its worker 6 times without a new report: node")
    assert run.trial(a).losses == 2 * MAX_LOSSES["worker"], "every attempt had a name of its own"


def test_a_function_that_returns_has_finished_if_it_reported() -> None:
    run = hand()
    a, b = run.start(2)
    run.report(a, 1, 0.5)
    run.do(Returned(trial=a))
    run.do(Returned(trial=b))
    assert [run.trial(name).outcome for name in (a, b)] == ["finished", "failed"]
    assert run.trial(b).reason == "the function returned without a report of score"


def test_the_best_is_the_first_of_equals_and_the_best_saved_has_a_checkpoint() -> None:
    run = hand()
    a, b = run.start(2)
    run.report(a, 1, 0.7)
    run.report(a, 2, 0.9, checkpoint=False)
    run.report(b, 1, 0.9, checkpoint=False)
    run.report(b, 2, 0.7)
    best, saved = run.core.run.best, run.core.run.best_saved
    assert best is not None
    assert saved is not None
    assert (best.trial, best.epoch, best.value) == (a, 2, 0.9)
    assert (saved.trial, saved.epoch) == (a, 1)


def test_elapsed_time_adds_up_over_sessions_and_leaves_out_the_time_between() -> None:
    run = hand(hours=1.0)
    sessions = [(1, 1000.0, 1060.0), (2, 9000.0, 9005.0)]
    for attempt, began, last in sessions:
        kind = type(run.records[1])
        run.take(kind(time=began, attempt=attempt, host="h", pid=1, slots=1, versions={}))
        run.take(Suggested(time=last, trial=f"t{attempt - 1:04d}", params={}, choices={}, seen=0))
    assert run.core.run.elapsed == 65.0


SCHEDULERS: dict[str, dict[str, Any]] = {
    "stopping": {"kind": "asha", "reduction_factor": 2},
    "promoting": {"kind": "asha", "reduction_factor": 2, "promote": True},
    "hyperband": {"kind": "hyperband", "reduction_factor": 2},
    "hyperband promoting": {"kind": "hyperband", "reduction_factor": 2, "promote": True},
    "median": {"kind": "median", "min_trials": 2},
    "pbt": {"kind": "pbt", "interval_epochs": 2},
    "none": {"kind": "none"},
}
SEARCHES: dict[str, dict[str, Any]] = {"tpe": {"kind": "tpe", "startup": 3}, "cmaes": {"kind": "cmaes"}}


def sometimes_diverging(params: Mapping[str, Any], epoch: int) -> float:
    value = curve(params, epoch)
    return math.nan if params["layers"] == 3 and epoch == 3 else value


@pytest.mark.parametrize(
    ("scheduler", "search"),
    [
        *((scheduler, "tpe") for scheduler in SCHEDULERS),
        ("stopping", "cmaes"),
        ("promoting", "cmaes"),
        ("pbt", "cmaes"),
    ],
)
def test_a_resume_at_any_record_decides_what_the_run_would_have(scheduler: str, search: str) -> None:
    spec = experiment(
        scheduler=SCHEDULERS[scheduler],
        search=SEARCHES[search],
        space=PLAIN,
        budget={"trials": 6, "epochs": 5},
        seed=3,
    )
    records = simulate(spec, sometimes_diverging)
    whole = lines(records)
    for cut in range(2, len(records) + 1):
        again = resumed(spec, sometimes_diverging, records[:cut])
        assert lines(again[cut:]) == whole[cut:], f"cut after {cut} records"
    outcomes = [record.decision.outcome for record in records if isinstance(record, Report)]
    if "promoting" in scheduler:
        assert {Promoted, Ended} <= {type(record) for record in records}
    else:
        assert "finished" in outcomes
    if scheduler in ("stopping", "median"):
        assert "stopped" in outcomes
    if scheduler == "pbt":
        assert any(record.decision.clone for record in records if isinstance(record, Report))


def test_a_resume_between_two_generations_of_cmaes_goes_on_with_its_state() -> None:
    spec = experiment(search={"kind": "cmaes"}, space=PLAIN, budget={"trials": 16, "epochs": 1})
    records = simulate(spec, curve)
    assert any("cma:optimizer:0" in record.attributes for record in records if isinstance(record, Suggested))
    for cut in range(len(records) - 14, len(records), 2):
        assert lines(resumed(spec, curve, records[:cut])) == lines(records)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_state_rebuilt_from_records_is_the_live_one(scheduler: str) -> None:
    """With several slots, lost workers, failures, and trials that return early."""
    spec = experiment(
        scheduler=SCHEDULERS[scheduler],
        space=PLAIN,
        budget={"trials": 12, "epochs": 6},
        resources={"max_trials": 3},
    )
    kinds = set()
    for seed in range(4):
        live = play(spec, sometimes_diverging, slots=3, seed=seed, faults=0.1)
        again = rebuilt(spec, live.records)
        assert repr(vars(again.run)) == repr(vars(live.core.run))
        assert {trial.status for trial in again.run.trials.values()} == {"ended"}
        kinds |= {type(record) for record in live.records}
    assert kinds >= {Suggested, Report, Lost, Ended}


def test_the_simulator_runs_as_many_trials_at_once_as_there_are_slots() -> None:
    spec = experiment(budget={"trials": 6, "epochs": 3})
    records = Simulation(spec, curve, slots=2, cost=lambda params, epoch: 1.0).run()
    shown = [record.trial for record in records if isinstance(record, Suggested | Report)]
    assert shown[:4] == ["t0000", "t0001", "t0000", "t0001"]
    assert len([record for record in records if isinstance(record, Report)]) == 18


def test_the_simulator_lets_slow_trials_report_late() -> None:
    spec = experiment(budget={"trials": 2, "epochs": 2})
    sim = Simulation(spec, curve, slots=2, cost=lambda params, epoch: params["x"])
    fast = min(sim.run()[2:4], key=lambda record: record.params["x"])  # type: ignore[attr-defined]
    first = next(record for record in sim.records if isinstance(record, Report))
    assert isinstance(fast, Suggested)
    assert first.trial == fast.trial
    assert sim.clock == pytest.approx(2 * max(t.params["x"] for t in sim.core.run.trials.values()))


def test_the_simulator_ends_at_the_target() -> None:
    spec = experiment(budget={"trials": 6, "epochs": 50, "target": 3.0})
    sim = Simulation(spec, lambda params, epoch: float(epoch), slots=3)
    sim.run()
    assert sim.core.run.closed == "target"
    assert sorted(trial.epoch for trial in sim.core.run.trials.values()) == [2, 2, 3]
