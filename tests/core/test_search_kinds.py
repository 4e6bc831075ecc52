"""What single kinds of search are for: a whole grid, an even spread, learning; and one that computes ahead."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from tuner.audit import audit
from tuner.core.records import Asked, Ended, Suggested
from tuner.core.search.asker import AtNeed, OneAhead
from tuner.core.search.kinds import KINDS, is_at_random
from tuner.core.search.study import StudySearcher
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment
from tuner.spec.space import grid_values

from .experiments import PLAIN, STEPPED, curve, experiment, simulate
from .searches import best, played, searcher, smooth, spec, suggestions

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:.sigma0. has been")


def test_a_grid_gives_each_point_once_in_an_order_of_its_seed() -> None:
    points = {}
    for seed in (0, 1):
        made = spec("grid", seed=seed, trials=1000)
        found = suggestions(tuple(simulate(made, curve, slots=3)))
        points[seed] = [tuple(record.params[name] for name in STEPPED) for record in found]
        assert made.trials == len(found) == 5 * 4 * 3
        assert len(set(map(str, points[seed]))) == 60
        for i, name in enumerate(STEPPED):
            values = grid_values(made.space[name])
            for point in points[seed]:
                assert any(point[i] == value or point[i] == pytest.approx(value) for value in values)
    assert points[0] != points[1]
    assert sorted(map(str, points[0])) == sorted(map(str, points[1]))


@pytest.mark.parametrize("case", ["qmc", "qmc halton"])
def test_a_quasi_random_point_depends_on_its_number_alone(case: str) -> None:
    made = spec(case)
    fresh = [searcher(made, ()).suggest(number).params for number in (0, 5, 17)]
    assert fresh == [suggestions(played(case))[number].params for number in (0, 5, 17)]


@pytest.mark.parametrize("case", ["qmc", "qmc halton"])
def test_quasi_random_points_are_spread_evenly(case: str) -> None:
    found = [record.params["momentum"] for record in suggestions(played(case))[:16]]
    eighths = [int((value - 0.5) / 0.49 * 8) for value in found]
    assert set(eighths) == set(range(8)), "sixteen points leave no eighth empty"


def test_tpe_draws_conditional_params_with_what_they_depend_on() -> None:
    modelled = [record for record in suggestions(played("tpe conditional")) if record.attributes]
    assert len(modelled) > 10
    assert any("beta" in str(record.attributes) for record in modelled)


def test_tpe_stays_away_from_where_trials_are_running() -> None:
    made = spec("tpe")
    records = played("tpe")
    place = suggestions(records)[-1].seen
    asked = searcher(made, records[:place]).suggest(21).params
    crowd = searcher(made, records[:place])
    crowd.observe(Suggested(trial="t0021", params=asked, choices={}, seen=place))
    alone = searcher(made, records[:place])
    alone.observe(Suggested(trial="t0021", params=asked, choices={}, seen=place))
    alone.observe(Ended(trial="t0021", outcome="failed", reason="x"))
    assert crowd.suggest(22).params != alone.suggest(22).params, "a running trial counts, a failed one does not"


def short(search: dict[str, Any]) -> Experiment:
    return experiment(space=PLAIN, search=search, budget={"trials": 6, "epochs": 1})


@pytest.mark.parametrize("key", ["startup", "sigma"])
def test_the_keys_of_cmaes_reach_it(key: str) -> None:
    found = [
        [record.params for record in suggestions(tuple(simulate(short(search), smooth)))]
        for search in ({"kind": "cmaes"}, {"kind": "cmaes", key: {"startup": 4, "sigma": 0.01}[key]})
    ]
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_until_enough_trials_have_ended_suggestions_are_random(
    kind: str, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {"kind": kind, "startup": 3}
    made = experiment(space=PLAIN, search=search, scheduler={"kind": scheduler}, budget={"trials": 12, "epochs": 3})
    sampler, modelled = type(KINDS[kind][0](made, 0)), []
    drawn = sampler.sample_relative
    monkeypatch.setattr(sampler, "sample_relative", lambda *args: modelled.append(drawn(*args)) or modelled[-1])
    simulation = Simulation(made, curve, slots=4)
    simulation.run()
    simulation.take(
        Asked(budget={"trials": 18, "epochs": 6})
    )  # which lets some go on that the sampler has learned from
    records = simulation.run()
    told = [not is_at_random(made, records[: one.seen]) for one in suggestions(tuple(records))]
    assert told == [bool(params) for params in modelled]
    assert not any(told[:4]) and (any(told) or (kind, scheduler) != ("tpe", "asha"))


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_learning_beats_chance_on_a_smooth_function(kind: str) -> None:
    learned, chance = ([math.log(best(k, seed, 40)) for seed in range(6)] for k in (kind, "random"))
    assert statistics.fmean(learned) < statistics.fmean(chance) - 0.5


def test_one_ahead_keeps_later_records_from_the_suggestion() -> None:
    """Whether the suggestion is computed before the later records come, or after, it is the same."""
    made, records = spec("tpe"), played("tpe")
    places = {record.number: i for i, record in enumerate(records) if isinstance(record, Suggested)}
    differ = 0
    for number in range(8, 22):
        early, late = (OneAhead(StudySearcher(made, KINDS["tpe"][0])) for _ in range(2))
        at_need = AtNeed(StudySearcher(made, KINDS["tpe"][0]))
        for asker, end in ((early, places[number - 1] + 1), (late, places[number]), (at_need, places[number])):
            for record in records[:end]:
                asker.observe(record)
        found = early.ask(number)
        assert found == late.ask(number)
        assert found.params == suggestions(records)[number].params
        differ += at_need.ask(number).params != found.params
    assert differ > 3, "the records between matter, or this shows nothing"


def test_what_is_clipped_at_a_bound_is_decided_again_alike() -> None:
    space = {f"x{i}": {"dist": "float", "low": 0.0, "high": 1.0} for i in range(12)}
    made = experiment(space=space, search={"kind": "cmaes", "sigma": 0.5}, budget={"trials": 40, "epochs": 1})
    found = audit(simulate(made, lambda *_: 1.0), {})
    assert found.difference == "", "Optuna clips by numpy, whose numbers are spelled otherwise"
