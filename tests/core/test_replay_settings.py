"""What if: which other settings a run can be replayed under, what they mean, and why others are refused."""

from __future__ import annotations

import pytest

from tuner.errors import UserError
from tuner.replay import Curves, what_if
from tuner.simulate import Simulation
from tuner.spec.alternative import alternative, spelled_out
from tuner.spec.experiment import Asha, Experiment

from .experiments import Hand, experiment
from .replays import SCHEDULERS, SMALL, crossing

AUTO = experiment(budget={"trials": 6, "epochs": 4}, search={"kind": "auto"}, scheduler={"kind": "auto"})


def test_what_auto_has_left_is_replayed_by_others_but_not_by_itself() -> None:
    made = Simulation(AUTO, crossing, slots=2)
    curves = Curves(made.run())
    found = what_if(curves, alternative(curves.run.spec, ["scheduler.kind=none"], len(curves.trials)))
    assert found.same is None
    assert found.was.epochs == sum(trial.epoch for trial in made.core.run.trials.values())
    assert found.other.epochs == 4 * len(curves.trials)
    with pytest.raises(UserError, match=r"but got auto\. It chooses new trials too"):
        alternative(AUTO, ["budget.trials=3"], 6)


@pytest.mark.parametrize("setting", ["scheduler.reduction_factor=4", "scheduler={reduction_factor: 4}"])
def test_settings_of_a_scheduler_mean_asha_where_the_run_had_auto(setting: str) -> None:
    assert spelled_out(AUTO, [setting, "budget.trials=3"]) == ["scheduler.kind=asha", setting, "budget.trials=3"]
    assert alternative(AUTO, [setting], 6).scheduler == Asha(reduction_factor=4)
    for named in ("scheduler={kind: hyperband}", 'scheduler={"kind" : "hyperband"}'):
        assert spelled_out(AUTO, [named, setting]) == [named, setting]


ERRORS = [
    ([], "--replay: must be given other settings than those of the run, but got none. Add --set scheduler"),
    (["scheduler.kind=asha", "scheduler.reduction_factor=3"], "--replay: must be given other settings"),
    (["search.kind=gp"], "search: must stay as it was where a run is replayed, but is changed: another one"),
    (["space.x.low=-1"], "space: must stay as it was where a run is replayed"),
    (["resources.cpus=2"], "resources: must stay as it was where a run is replayed, but is changed: values and"),
    (["confirm.top=2"], "confirm: must stay as it was"),
    (
        ["scheduler.kind=pbt"],
        "scheduler.kind: must be a scheduler that can be replayed on the trials of a run",
    ),
    *(
        ([given], "scheduler.kind: must be a scheduler that can be replayed on the trials of a run")
        for given in (
            "scheduler={kind: auto}",
            "scheduler={kind: 'pbt'}",
            'scheduler={"kind": pbt}',
            "scheduler.kind='pbt'",
        )
    ),
    (["budget.trials=13"], "budget.trials: must be at most 12, as many as are recorded, but got 13"),
    (["budget.epochs=27"], "budget.epochs: must stay 9, where schedules end, but got 27"),
    (["scheduler.grace_epochs=10"], "must be at most budget.epochs (9), but got 10"),
    (["scheduler.factor=4"], "must be a key of scheduler with kind asha, but got factor"),
    (["schedular.kind=asha"], "schedular"),
    (["scheduler"], "must be KEY=VALUE, but got 'scheduler'"),
]


@pytest.mark.parametrize(("overrides", "said"), ERRORS, ids=lambda value: " ".join(value)[:40])
def test_what_cannot_be_replayed_is_refused_with_the_reason(overrides: list[str], said: str) -> None:
    spec = experiment(budget=SMALL, scheduler=SCHEDULERS["asha"])
    with pytest.raises(UserError) as error:
        alternative(spec, overrides, 12)
    assert said in str(error.value)


def test_a_population_and_a_run_without_reports_are_refused() -> None:
    pbt: Experiment = experiment(scheduler={"kind": "pbt"})
    with pytest.raises(UserError, match="must be a run whose trials keep their params, but got one"):
        alternative(pbt, ["scheduler.kind=asha"], 8)
    hand = Hand(experiment())
    hand.start(1)
    with pytest.raises(UserError, match="hand: must be a run that has reported, but there is no report yet"):
        Curves(hand.records)


def test_another_kind_of_scheduler_begins_with_its_defaults_and_the_same_keeps_what_was() -> None:
    spec = experiment(budget=SMALL, scheduler={"kind": "asha", "reduction_factor": 5, "grace_epochs": 2})
    other = alternative(spec, ["scheduler.kind=hyperband"], 12)
    assert other.scheduler.model_dump() == {
        "kind": "hyperband", "grace_epochs": 1, "reduction_factor": 3, "brackets": None, "promote": False, "by": None,
    }  # fmt: skip
    other = alternative(spec, ["scheduler.promote=true"], 12)
    assert other.scheduler.model_dump() == {**spec.scheduler.model_dump(), "promote": True}
