"""A larger budget: who goes on, and that records alone tell it."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.core.events import Elapsed, Free, StopAsked
from tuner.core.records import Asked, Ended, Promoted, Report, Session, Suggested, Tick
from tuner.core.run import Core
from tuner.core.search.kinds import make_asker
from tuner.errors import UserError
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.extension import changes, told

from .experiments import PLAIN, Hand, curve, experiment, rebuilt

ASHA = {"kind": "asha", "grace_epochs": 1, "reduction_factor": 3}


def ended(spec: Experiment, slots: int = 1) -> Simulation:
    simulation = Simulation(spec, curve, slots)
    simulation.run()
    assert simulation.core.run.finished()
    return simulation


def extend(simulation: Simulation, **budget: Any) -> None:
    """Go on as a resume does: with a core that is built from records."""
    core = Core(simulation.spec, make_asker(simulation.spec))
    for record in simulation.records:
        core.apply(record)
    simulation.core = core
    simulation.take(Asked(budget=budget))
    simulation.run()
    assert core.run.finished()


def test_more_trials_are_suggested_as_if_there_had_been_so_many_from_the_first() -> None:
    few = experiment(space=PLAIN, search={"kind": "tpe", "startup": 3}, budget={"trials": 6, "epochs": 2})
    many = few.with_parts({"budget": {"trials": 12}})
    simulation = ended(few)
    extend(simulation, trials=12)
    params = lambda records: [record.params for record in records if isinstance(record, Suggested)]  # noqa: E731
    assert params(simulation.records) == params(ended(many).records)


def test_of_those_finished_at_the_old_last_epoch_the_best_third_go_on() -> None:
    simulation = ended(experiment(budget={"trials": 9, "epochs": 3}, scheduler={"kind": "asha", "grace_epochs": 3}))
    finished = sorted(simulation.core.run.trials.values(), key=lambda trial: -trial.params["x"])
    extend(simulation, epochs=9)
    run = simulation.core.run
    assert [trial.epoch for trial in finished] == [3] * 9
    by_x = sorted(run.trials.values(), key=lambda trial: -trial.params["x"])
    assert [trial.epoch for trial in by_x] == [9] * 3 + [3] * 6
    assert {trial.outcome for trial in by_x} == {"finished"}
    assert by_x[-1].reason == "epoch 3 was the last; not among the best when the budget grew"
    assert run.horizon == 3


def test_those_left_behind_at_the_old_last_epoch_take_nothing_of_its_quota() -> None:
    run = Hand(experiment(budget={"trials": 12, "epochs": 3}, scheduler={"kind": "asha", "grace_epochs": 3}))
    for place, name in enumerate(run.start(12)):
        run.report(name, 3, 0.01 * place)
    run.take(Asked(budget={"trials": 13, "epochs": 9}))
    promoted = [run.do(Free()) for _ in range(4)]
    assert all(isinstance(record, Promoted) for record in promoted)
    (new,) = run.start(1)
    decision = run.report(new, 3, 0.095)
    assert decision.mark is not None and (decision.mark.rank, decision.mark.of) == (3, 13)
    assert decision.action == "go", "four went on, and the best third of 13 are five"


def test_a_trial_that_goes_on_is_not_held_against_its_old_last_epoch_again() -> None:
    simulation = ended(experiment(budget={"trials": 27, "epochs": 9}, scheduler=ASHA))
    before = {trial.id for trial in simulation.core.run.trials.values() if trial.outcome == "finished"}
    extend(simulation, epochs=27)
    promoted = {record.trial for record in simulation.records if isinstance(record, Promoted)}
    assert promoted
    assert promoted <= before
    run = simulation.core.run
    assert {run.trials[name].epoch for name in promoted} == {27}
    assert all(not (9 < trial.epoch < 27) for trial in run.trials.values())


@pytest.mark.parametrize("kind", ["none", "median", "pbt"])
def test_without_rungs_all_that_were_finished_go_on(kind: str) -> None:
    simulation = ended(experiment(budget={"trials": 4, "epochs": 4}, scheduler={"kind": kind}), slots=2)
    finished = [trial.id for trial in simulation.core.run.trials.values() if trial.outcome == "finished"]
    assert finished
    extend(simulation, epochs=6)
    epochs = {simulation.core.run.trials[name].epoch for name in finished}
    assert epochs == {6} if kind != "median" else 6 in epochs


def test_hyperband_moves_no_trial_to_another_bracket() -> None:
    spec = experiment(budget={"trials": 20, "epochs": 9}, scheduler={"kind": "hyperband"})
    simulation = ended(spec)
    marks = lambda: {t.id: t.mark.bracket for t in simulation.core.run.trials.values() if t.mark}  # noqa: E731
    before = marks()
    extend(simulation, epochs=27)
    assert {name: marks()[name] for name in before} == before
    assert max(trial.epoch for trial in simulation.core.run.trials.values()) == 27


def test_hours_that_were_reached_are_given_back_and_trials_go_on() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 4, "hours": 1.0}))
    a, b = run.start(2)
    run.report(a, 1, 0.5)
    run.do(Elapsed(seconds=4000))
    assert run.core.run.finished()
    run.take(Asked(budget={"hours": 2.0}))
    assert not run.core.run.closed
    assert [run.trial(name).status for name in (a, b)] == ["running", "running"]
    assert run.report(a, 2, 0.6).action == "go"
    assert run.do(Elapsed(seconds=4001)) is None


def test_a_target_that_was_reached_lets_its_trial_go_on_to_a_harder_one() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9, "target": 0.5}))
    (a,) = run.start(1)
    assert run.report(a, 1, 0.6).target
    run.take(Asked(budget={"target": 0.9}))
    assert run.trial(a).status == "running"
    assert run.report(a, 2, 0.7).action == "go"


def test_a_trial_that_the_user_stopped_stays_stopped() -> None:
    run = Hand(experiment(budget={"trials": 2, "epochs": 9}))
    a, _ = run.start(2)
    run.do(StopAsked(trial=a))
    run.take(Asked(budget={"epochs": 18}))
    assert run.trial(a).outcome == "killed"


@pytest.mark.parametrize("scheduler", [ASHA, {**ASHA, "promote": True}, {"kind": "hyperband"}, {"kind": "pbt"}])
def test_a_state_rebuilt_from_records_is_the_live_one_after_an_extension(scheduler: dict[str, Any]) -> None:
    spec = experiment(space=PLAIN, budget={"trials": 9, "epochs": 5}, scheduler=scheduler)
    simulation = ended(spec)
    extend(simulation, epochs=11)
    again = rebuilt(spec, simulation.records)
    assert repr(vars(again.run)) == repr(vars(simulation.core.run))
    assert again.spec.budget.epochs == 11
    assert again.decide(Free()) is None
    kinds = {type(record) for record in simulation.records}
    assert kinds >= {Asked, Report, Promoted}
    assert Ended in kinds or scheduler["kind"] == "pbt"


def test_the_time_between_the_end_and_an_extension_is_no_time_of_the_run() -> None:
    spec = experiment(budget={"trials": 2, "epochs": 4, "hours": 1.0})
    run = Hand(spec)
    run.take(Session(time=1000.0, attempt=2, host="h", pid=1, slots=1, versions={}))
    run.take(Tick(time=4600.0, elapsed=3600.0))
    assert run.core.run.elapsed == 3600.0
    run.take(Asked(time=90000.0, budget={"hours": 2.0}))
    run.take(Session(time=90010.0, attempt=3, host="h", pid=1, slots=1, versions={}))
    assert run.core.run.elapsed == 3600.0


OLD = {"trials": 8, "epochs": 9, "hours": 2.0, "target": 0.9}


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({"trials": 7}, "budget.trials: must be at least 8, as before, but got 7"),
        ({"epochs": 3}, "budget.epochs: must be at least 9, as before, but got 3"),
        ({"hours": 1.0}, "budget.hours: must be at least 2, as before, but got 1.0"),
        ({"target": 0.8}, "budget.target: must be no easier than 0.9, as before, but got 0.8"),
    ],
)
def test_a_smaller_budget_is_refused_with_the_reason(budget: dict[str, Any], problem: str) -> None:
    old = experiment(budget=OLD)
    with pytest.raises(UserError) as caught:
        changes(old, old.with_parts({"budget": budget}))
    assert problem in str(caught.value)


def test_other_changes_are_refused_each_by_name() -> None:
    old = experiment(budget=OLD)
    new = experiment(budget=OLD, seed=1, space={"x": {"dist": "float", "low": 0, "high": 2}})
    with pytest.raises(UserError) as caught:
        changes(old, new)
    assert [problem.path for problem in caught.value.problems if not isinstance(problem, str)] == ["space", "seed"]


def test_how_trials_are_run_may_change() -> None:
    old = experiment(budget=OLD)
    settings = {"resources": {"cpus": 2}, "checkpoint": {"every": 3}, "watchdog": {"seconds": 60.0}}
    new = old.with_parts(settings)
    assert changes(old, new) == settings
    run = Hand(old)
    run.take(Asked(settings=settings))
    assert run.core.spec == new
    assert rebuilt(old, run.records).spec == new


def test_more_trials_after_the_hours_are_over_need_more_hours() -> None:
    old = experiment(budget=OLD)
    more = old.with_parts({"budget": {"trials": 9}})
    with pytest.raises(UserError, match=r"budget\.hours: must be more than the 2.01 that the run has used, but got 2"):
        changes(old, more, 2.01)
    assert changes(old, more, 1.9) == {"budget": {"trials": 9}}
    both = old.with_parts({"budget": {"trials": 9, "hours": 3.0}})
    assert changes(old, both, 2.01) == {"budget": {"trials": 9, "hours": 3.0}}


def test_settings_alone_are_refused_where_the_run_is_over() -> None:
    old = experiment(budget=OLD)
    new = old.with_parts({"resources": {"cpus": 2}})
    with pytest.raises(UserError, match="must have a larger budget beside other settings where the run is over"):
        changes(old, new, is_over=True)
    assert changes(old, new.with_parts({"budget": {"trials": 9}}), is_over=True)


@pytest.mark.parametrize("is_over", [False, True])
def test_loggers_change_at_any_time_and_nothing_else_by_that(is_over: bool) -> None:
    old = experiment(budget=OLD, loggers=[{"kind": "csv"}, {"kind": "wandb"}])
    new = Experiment.model_validate({**old.model_dump(), "loggers": ["csv"]})
    assert changes(old, new, is_over=is_over) == {}
    assert changes(old, new, 2.01, is_over, "hours" if is_over else "") == {}, "it may have ended by its hours"
    other = new.with_parts({"resources": {"cpus": 2}})
    if is_over:
        with pytest.raises(UserError, match="must have a larger budget beside other settings where the run is over"):
            changes(old, other, is_over=True)
    else:
        assert changes(old, other) == {"resources": {"cpus": 2}}


def test_a_population_does_not_grow() -> None:
    old = experiment(budget={"trials": 8, "epochs": 9}, scheduler={"kind": "pbt"})
    with pytest.raises(UserError, match="whose population it is"):
        changes(old, old.with_parts({"budget": {"trials": 9}}))


def test_limits_may_be_lifted_and_not_set() -> None:
    limited, free = experiment(budget=OLD), experiment(budget={"trials": 8, "epochs": 9})
    assert changes(limited, free) == {"budget": {"hours": None, "target": None}}
    with pytest.raises(UserError, match="without a limit, as before"):
        changes(free, limited)


def test_what_a_larger_budget_means_is_told() -> None:
    old = experiment(budget=OLD, scheduler=ASHA)
    assert told(old, {"budget": {"epochs": 27}, "resources": {"cpus": 2}}, 9) == [
        "budget.epochs grows from 9 to 27",
        "resources.cpus changes from 1 to 2",
        "of those finished at epoch 9, the best 1/3 go on from their last checkpoints",
        "schedules keep their horizon: trial.total_epochs stays 9; from epoch 10 on a rate stays where its schedule "
        "ends, and one of 0 learns nothing",
    ]
