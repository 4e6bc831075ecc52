"""What a run is said to cost beforehand, against what its own scheduler then trains."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.plan import Plan, plan
from tuner.simulate import Simulation

from .experiments import auto, experiment


def planned(scheduler: dict[str, Any], trials: int, epochs: int, slots: int = 1) -> Plan:
    return plan(experiment(scheduler=scheduler, budget={"trials": trials, "epochs": epochs}), slots)


@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize("scheduler", [
    {"kind": "asha", "reduction_factor": 2}, {"kind": "asha", "promote": True, "reduction_factor": 2},
    {"kind": "hyperband"}, {"kind": "median"}, {"kind": "pbt", "interval_epochs": 2},
])  # fmt: skip
def test_a_scheduler_that_is_told_of_its_own_epochs_alone_trains_as_much(
    scheduler: dict[str, Any], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planned(scheduler, 20, 16, slots)
    monkeypatch.setattr("tuner.plan._Played.next_epoch", Simulation.next_epoch)
    if scheduler["kind"] != "pbt":
        assert planned(scheduler, 20, 16, slots) == found and found.most == 320
    else:  # who clones whom hangs on the order of reports at one moment
        assert planned(scheduler, 20, 16, slots).epochs == pytest.approx(found.epochs, rel=0.05) and found.most is None


def test_of_auto_the_best_one_goes_on_when_the_epochs_of_all_are_trained() -> None:
    found = plan(auto(trials=8, epochs=100, search={"kind": "auto", "epochs": 30}), 2)
    assert (found.epochs, found.for_the_best, found.most, found.reach) == (30, 100, 800, {})
    assert plan(auto(trials=8, epochs=9, search={"kind": "auto", "epochs": 72}), 2).for_the_best == 0


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median", "pbt"])
def test_a_run_of_a_million_epochs_is_planned_by_a_smaller_one(kind: str) -> None:
    small, large = planned({"kind": kind}, 8, 1000), planned({"kind": kind}, 8, 1_000_000)
    assert len(large.reach) < 20
    assert large.epochs / 1000 == pytest.approx(small.epochs, rel=0.1)
