"""Several objectives: the front, what stops a trial early, and samplers that are rebuilt from the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import pytest
from optuna.trial import TrialState

from tuner.core import pareto
from tuner.core.records import Record, Suggested
from tuner.core.search.kinds import KINDS
from tuner.core.search.study import StudySearcher
from tuner.core.state import RunState, replay
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

from .experiments import Hand, experiment, lines

GOALS = [{"metric": "accuracy", "mode": "max"}, {"metric": "latency", "mode": "min"}]
UNIT = {"dist": "float", "low": 0.0, "high": 1.0}


def several(**parts: Any) -> Experiment:
    return experiment(**{"objective": GOALS, **parts})


def trade(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """Trade accuracy for latency along x; y is good for nothing, and some diverge in their second epoch."""
    x, y = params["x"], params.get("y", 0.0)
    diverges = epoch == 2 and 0.4 < x < 0.6
    return {"accuracy": (x - y) * (1 - 0.5**epoch), "latency": math.nan if diverges else x * x + y}


def played(spec: Experiment) -> tuple[list[Record], RunState]:
    records = Simulation(spec, trade, slots=3).run()
    return records, replay(records)


def values(run: RunState) -> set[tuple[str, int]]:
    return {(best.trial, best.epoch) for best in run.front}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 1), (2, 2), (0, 3), (1, 2), (2, 2)], [2, 0, 0, 1, 0]),  # equal points share a front
        ([(0, 0), (0, 1), (1, 0), (1, 1)], [2, 1, 1, 0]),
        ([(3, 0, 0), (0, 3, 0), (0, 0, 3), (0, 0, 2)], [0, 0, 0, 1]),
        ([], []),
    ],
)
def test_a_front_holds_what_only_earlier_fronts_dominate(points: list[Any], expected: list[int]) -> None:
    assert pareto.fronts(points) == expected


def test_crowding_is_the_distance_of_the_neighbours() -> None:
    points = [(0, 10), (1, 9), (4, 4), (10, 0)]
    assert pareto.crowding(points) == [math.inf, 0.4 + 0.6, 0.9 + 0.9, math.inf]
    assert pareto.crowding([(1, 1), (1, 1)]) == [0, 0], "what is all the same tells nobody apart"


def test_weights_choose_along_a_hollow_front_and_one_that_exploded_does_not_matter() -> None:
    hollow = [(0.0, 10.0), (4.0, 4.0), (10.0, 0.0), (-1e9, -1e9)]  # no weighted sum finds the middle one
    for weights, best in (((1, 1), 1), ((10, 1), 2), ((1, 10), 0)):
        losses = pareto.losses(hollow, weights)
        assert losses.index(min(losses)) == best
    assert pareto.losses([(1.0, 2.0)], (1, 1)) == [0.0], "one alone is the best of itself"


def test_the_compromise_is_nearest_to_the_ideal() -> None:
    assert pareto.nearest([(0, 100), (0.8, 80), (1, 0)]) == 1


def test_the_front_is_that_of_all_reports() -> None:
    """Each epoch is a model of its own: an early one may be as good a trade as a late one."""
    hand = Hand(several(budget={"trials": 3, "epochs": 3}))
    a, b, c = hand.start(3)
    told = [(a, 1, 0.5, 3.0), (a, 2, 0.7, 5.0), (b, 1, 0.5, 4.0), (b, 2, 0.6, 2.0), (c, 1, 0.7, 5.0), (c, 2, 0.1, 1.0)]
    for trial, epoch, accuracy, latency in told:
        hand.report(trial, epoch, {"accuracy": accuracy, "latency": latency})
    run = hand.core.run
    assert values(run) == {(a, 2), (b, 2), (c, 2)}, "of two that are equal the first"
    assert run.best is not None and (run.best.trial, run.best.epoch) == (a, 2)
    assert run.chosen is not None and run.chosen.values == {"accuracy": 0.6, "latency": 2.0}, "the compromise"
    decision = hand.report(a, 3, {"accuracy": 0.9, "latency": math.inf})
    assert (decision.outcome, decision.reason) == ("diverged", "latency is inf")


def test_the_known_front_is_found_by_a_grid() -> None:
    space = {"x": {**UNIT, "step": 0.25}, "y": {**UNIT, "step": 0.5}}
    _, run = played(several(space=space, search={"kind": "grid"}, budget={"trials": 15, "epochs": 1}))
    best = {tuple(run.trials[trial].params.values()) for trial, _ in values(run)}
    assert best == {(x, 0.0) for x in (0.0, 0.25, 0.5, 0.75, 1.0)}


def test_by_nondomination_a_rung_keeps_the_first_front_and_of_that_the_lonely() -> None:
    scheduler = {"kind": "asha", "grace_epochs": 1, "reduction_factor": 2, "by": "nondomination"}
    hand = Hand(several(scheduler=scheduler, budget={"trials": 9, "epochs": 4}))
    names = hand.start(6)
    told = [
        (0.5, 5.0, 1, "go"),  # nobody is there
        (0.4, 6.0, 2, "stopped"),  # dominated
        (0.9, 9.0, 1, "go"),  # an extreme of the front; so is the first
        (0.6, 5.5, 3, "stopped"),  # on the front of three, with neighbours: behind both extremes
        (0.1, 1.0, 1, "go"),  # another extreme
        (0.55, 5.2, 5, "stopped"),  # on the front too, between two that are close: the most crowded of it
    ]
    for name, (accuracy, latency, rank, becomes) in zip(names, told, strict=True):
        decision = hand.report(name, 1, {"accuracy": accuracy, "latency": latency})
        assert decision.mark is not None and (decision.mark.rank, decision.mark.cutoff) == (rank, None)
        assert becomes == (decision.outcome or decision.action), name
    assert decision.reason == (
        "number 5 of 6 at epoch 1 by non-domination of accuracy, latency, where the best 1/2 go on"
    )


@pytest.mark.parametrize(("weights", "goes_on"), [((1, 0.01), "t0000"), ((0.01, 1), "t0001")])
def test_by_weights_the_heavier_objective_decides_who_is_promoted(weights: tuple[float, float], goes_on: str) -> None:
    by = dict(zip(("accuracy", "latency"), weights, strict=True))
    scheduler = {"kind": "asha", "reduction_factor": 3, "promote": True, "by": by}
    hand = Hand(several(scheduler=scheduler, budget={"trials": 3, "epochs": 4}))
    for name, accuracy, latency in zip(hand.start(3), (0.9, 0.2, 0.5), (9.0, 1.0, 5.0), strict=True):
        hand.report(name, 1, {"accuracy": accuracy, "latency": latency})
    assert hand.core.rule.next(hand.core.run) == goes_on


CASES: dict[str, dict[str, Any]] = {
    "nsga2": {"search": {"kind": "nsga2", "population": 4}},
    "nsga2 asha": {"search": {"kind": "nsga2", "population": 4}, "scheduler": {"kind": "asha", "by": "nondomination"}},
    "nsga2 limit": {"search": {"kind": "nsga2", "population": 4}, "constraints": {"accuracy": ">= 0.2"}},
    "tpe": {"search": {"kind": "tpe", "startup": 5}},
    "tpe hyperband": {
        "search": {"kind": "tpe", "startup": 5},
        "scheduler": {"kind": "hyperband", "by": {"accuracy": 1, "latency": 0.3}},
    },
    "random pbt": {"scheduler": {"kind": "pbt", "by": "nondomination"}},
}


@cache
def case(name: str) -> tuple[Experiment, tuple[Record, ...]]:
    spec = several(space={"x": UNIT, "y": UNIT}, budget={"trials": 24, "epochs": 4}, **CASES[name])
    return spec, tuple(played(spec)[0])


@pytest.mark.parametrize("name", CASES)
def test_a_study_rebuilt_from_the_ledger_suggests_what_the_live_one_did(name: str) -> None:
    spec, records = case(name)
    live = [record for record in records if isinstance(record, Suggested)]
    for record in live:
        searcher = StudySearcher(spec, KINDS[spec.search.kind][0])
        for seen in records[: record.seen]:
            searcher.observe(seen)
        assert lines([replace(record, **asdict(searcher.suggest(record.number)))]) == lines([record])
    assert len(live) == 24


@pytest.mark.parametrize("name", CASES)
def test_samplers_hear_of_all_objectives_and_of_trials_that_were_stopped(name: str) -> None:
    spec, records = case(name)
    run, searcher = replay(records), StudySearcher(spec, KINDS[spec.search.kind][0])
    for record in records:
        searcher.observe(record)
    for trial, told in zip(run.trials.values(), searcher.study.get_trials(), strict=True):
        assert trial.best is not None
        diverged = trial.outcome == "diverged"
        assert told.state == (TrialState.PRUNED if diverged else TrialState.COMPLETE)
        if not diverged:
            assert told.values == [trial.best.metrics["accuracy"], trial.best.metrics["latency"]]
    outcomes = {trial.outcome for trial in run.trials.values()}
    assert "diverged" in outcomes and ("stopped" in outcomes) == (name in ("nsga2 asha", "tpe hyperband"))


def test_a_generation_is_bred_from_the_best_of_those_before() -> None:
    _, records = case("nsga2")
    attributes = [record.attributes for record in records if isinstance(record, Suggested)]
    generations = [found["_Written:generation"] for found in attributes]
    assert generations == sorted(generations) and generations[-1] >= 3
    parents = {found["_Written:generation"]: found["nsga2:parents"] for found in attributes if len(found) > 1}
    assert set(parents) == set(range(1, generations[-1] + 1)), "written once for each generation"
    assert all(len(set(chosen)) == 4 for chosen in parents.values())
