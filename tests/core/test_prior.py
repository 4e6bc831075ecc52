"""What is believed of the best params: a density, draws from it, and the trials that a run begins with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import pytest

from tuner.core.search.first import first
from tuner.core.search.prior import has_prior, log_density, mode, sample
from tuner.core.search.scale import from_unit, to_unit
from tuner.spec.experiment import Experiment, kept
from tuner.spec.space import CONFIDENCE, Float, Int

from .experiments import CONDITIONAL, PLAIN, STEPPED, curve, experiment, play

pytestmark = pytest.mark.filterwarnings("ignore:.(x0|sigma0). has been")

LR = {"dist": "float", "low": 1e-5, "high": 1.0, "log": True}
BELIEVED: dict[str, Any] = {
    **CONDITIONAL,
    "optimizer": {**CONDITIONAL["optimizer"], "prior": "sgd", "confidence": "high"},
    "momentum": {**CONDITIONAL["momentum"], "prior": 0.9},
    "lr": {**CONDITIONAL["lr"], "prior": 0.01},
    "beta": {**CONDITIONAL["beta"], "prior": 0.9, "confidence": 0.7},
}


def made(space: Mapping[str, Any], kind: str = "random", **parts: Any) -> Experiment:
    return experiment(**{"space": space, "search": {"kind": kind}, **parts})


@pytest.mark.parametrize("name", [*PLAIN, "dropout", "odd"])
def test_a_scale_leads_back_and_its_ends_are_the_ends_of_the_range(name: str) -> None:
    space = {**PLAIN, "dropout": STEPPED["dropout"], "odd": {"dist": "int", "low": 1, "high": 8, "step": 3}}
    dimension = made(space).space[name]
    assert isinstance(dimension, Float | Int)
    places = [i / 997 for i in range(998)]
    values = [from_unit(dimension, place) for place in places]
    assert all(dimension.contains(value) for value in values) and values == sorted(values)
    assert (values[0], values[-1]) == pytest.approx((dimension.low, 7 if name == "odd" else dimension.high), rel=1e-12)
    again = [from_unit(dimension, to_unit(dimension, value)) for value in values]
    assert again == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize(("word", "share"), [*CONFIDENCE.items(), (0.95, 0.95)])
def test_confidence_is_the_share_of_draws_that_lie_near(word: str | float, share: float) -> None:
    space = made({"lr": {**LR, "prior": 3e-3, "confidence": word}}).space
    drawn = [math.log10(sample(space, 0, "x", i)["lr"] / 3e-3) for i in range(2000)]
    assert statistics.fmean(abs(away) <= 0.5 for away in drawn) == pytest.approx(share, abs=0.03)
    assert statistics.median(drawn) == pytest.approx(0.0, abs=0.15), "as many below it as above"


def test_a_choice_is_its_prior_so_often_and_else_any_value() -> None:
    space = made({"kind": {"dist": "choice", "values": [1, [2], None, "d"], "prior": [2], "confidence": 0.6}}).space
    drawn = [sample(space, 0, "x", i)["kind"] for i in range(2000)]
    assert drawn.count([2]) / 2000 == pytest.approx(0.6 + 0.4 / 4, abs=0.03)
    assert drawn.count(None) / 2000 == pytest.approx(0.4 / 4, abs=0.03)


@pytest.mark.parametrize(
    "dimension",
    [
        {**LR, "prior": 3e-3},
        {**LR, "prior": 1.0, "confidence": "high"},
        {"dist": "float", "low": -1.0, "high": 3.0, "prior": 0.0, "confidence": 0.999999},
        {"dist": "choice", "values": [1, 2, 3], "prior": 3, "confidence": "low"},
    ],
)
def test_the_density_adds_up_to_one(dimension: dict[str, Any]) -> None:
    space = made({"x": dimension}).space
    parsed = space["x"]
    if isinstance(parsed, Float):
        values = [from_unit(parsed, (i + 0.5) / 20_000) for i in range(20_000)]
    else:
        values = dimension["values"]
    ratios = [math.exp(log_density(space, {"x": value})) for value in values]
    assert statistics.fmean(ratios) == pytest.approx(1.0, abs=0.01)
    assert min(ratios) >= 0.5 - 1e-9, "nothing is ruled out"
    assert max(ratios) == pytest.approx(math.exp(log_density(space, {"x": dimension["prior"]})), rel=1e-3)


def test_draws_lie_in_the_space_with_its_conditions_and_hang_on_nothing_but_their_counter() -> None:
    space = made(BELIEVED).space
    drawn = [sample(space, 3, "x", i) for i in range(200)]
    assert drawn == [sample(space, 3, "x", i) for i in range(200)]
    assert len({str(params) for params in drawn}) == 200
    for params in drawn:
        assert set(params) == {name for name, dimension in space.items() if dimension.active(params)}
        assert all(space[name].contains(value) for name, value in params.items())
    assert len({tuple(sorted(params)) for params in drawn}) >= 4
    even = [sample(made(CONDITIONAL).space, 3, "x", i) for i in range(200)]
    assert statistics.fmean(log_density(space, p) for p in drawn) > statistics.fmean(
        log_density(space, p) for p in even
    )
    assert not has_prior(made(CONDITIONAL).space) and log_density(made(CONDITIONAL).space, drawn[0]) == 0.0


@pytest.mark.parametrize("kind", ["random", "tpe", "gp", "cmaes", "auto"])
def test_the_first_trial_is_what_is_believed_and_of_those_by_chance_half_are_even(kind: str) -> None:
    space = {name: {**part, "prior": PRIORS[name]} for name, part in PLAIN.items()}
    trials = 6 if kind == "gp" else 14  # its model is slow
    scheduler = {"kind": "auto" if kind == "auto" else "none"}
    spec = made(space, kind, budget={"trials": trials, "epochs": 1}, scheduler=scheduler)
    hand = play(spec, curve, faults=0.0)
    found = [trial.params for trial in hand.core.run.trials.values()]
    assert found[0] == PRIORS == mode(spec.space)
    by_chance = {"random": 14, "tpe": 10, "gp": 10, "cmaes": 1, "auto": 10}[kind]
    for number in range(1, trials):
        given = first(spec, number)
        assert (given is not None) == (number % 2 == 1 and number < by_chance)
        assert given is None or found[number] == given.params == sample(spec.space, 0, "prior", number)


PRIORS = {"lr": 0.003, "momentum": 0.9, "layers": 4}


def test_a_start_point_comes_before_the_belief() -> None:
    spec = made(
        {**PLAIN, "lr": {**PLAIN["lr"], "prior": 0.5}},
        start={"points": [{"lr": 0.25}]},
        budget={"trials": 3, "epochs": 1},
    )
    found = [trial.params["lr"] for trial in play(spec, curve, faults=0.0).core.run.trials.values()]
    assert found[:2] == [0.25, 0.5]
    assert [(given := first(spec, i)) and given.source for i in range(4)] == [
        "point 1 of start.points", "the priors", "drawn from the priors", None,
    ]  # fmt: skip


def test_cmaes_starts_around_what_is_believed() -> None:
    far = {name: {**part, "prior": PRIORS[name]} for name, part in PLAIN.items()}
    steps: dict[str, list[float]] = {}
    for name, space in (("believed", far), ("middle", PLAIN)):
        spec = made(space, "cmaes", search={"kind": "cmaes", "sigma": 0.01}, budget={"trials": 5, "epochs": 1})
        trials = list(play(spec, curve, faults=0.0).core.run.trials.values())
        steps[name] = [abs(math.log10(trial.params["lr"] / PRIORS["lr"])) for trial in trials[3:]]
    assert max(steps["believed"]) < 0.2 < min(steps["middle"])


def test_a_ledger_of_nsga2_with_priors_that_it_never_heard_of_can_be_read() -> None:
    spec = experiment(space={"lr": {**LR, "prior": 3e-3}}, search={"kind": "nsga2"})
    assert kept(spec.model_dump(exclude_none=True), "old") == spec
