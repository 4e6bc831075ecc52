"""Freeze-thaw: its safeguard against curves that mislead the model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from tuner.core.records import Asked, Promoted, Record, Report, Suggested
from tuner.core.search import joint, thaw
from tuner.simulate import Simulation

from .experiments import auto, begun, smooth

pytestmark = pytest.mark.slow


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


def run(by: Any, seed: int) -> list[Record]:
    return Simulation(auto(seed=seed, trials=200), by, slots=3).run()


usual = cache(run)
"""The same with all as it is; it is played once."""


def straight_share(records: list[Record]) -> float:
    """Tell the share of all epochs that straight trials have."""
    return epochs_of(records, straights(records)) / epochs_of(records, {f"t{i:04d}" for i in range(200)})


def test_half_of_the_epochs_do_while_one_by_chance_is_the_best_of_all() -> None:
    misled, right = (
        statistics.mean(straight_share(usual(by, seed)) for seed in (0, 1, 2)) for by in (crossing, smooth)
    )
    assert right <= 0.12
    assert misled > 2 * right


def level(params: Mapping[str, Any], epoch: int) -> float:
    """Stay level for two thirds of the training; only then the params tell."""
    return smooth(params, 20) if epoch > 13 else -3.0


def brought_to_the_end(seed: int) -> int:
    """Count the trials that the model brings to the end where the first epochs tell nothing."""
    records = run(level, seed)
    ends = {record.trial for record in records if isinstance(record, Report) and record.epoch == 20}
    return len(ends - straights(records).keys())


def test_where_the_first_epochs_tell_nothing_trials_are_brought_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thaw, "AHEAD", math.inf)  # else new trials wait, and others go on
    with_all = sum(map(brought_to_the_end, (1, 2)))
    monkeypatch.setattr(thaw, "WHOLE", 0.0)
    assert with_all > 4 * sum(map(brought_to_the_end, (1, 2)))


def noisy(params: Mapping[str, Any], epoch: int) -> float:
    """Stay on a plateau for two thirds of the training, where the noise alone tells trials apart."""
    return level(params, epoch) + 0.01 * math.sin(1e6 * params["lr"] * (epoch + 1))


def test_where_early_epochs_do_not_tell_half_of_all_run_straight_and_new_trials_wait_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heeded = [usual(noisy, seed) for seed in (0, 1, 2)]
    monkeypatch.setattr(joint, "OWN_TELLS", 0.0)
    for seed, records in enumerate(heeded):
        ignored = run(noisy, seed)
        assert straight_share(records) > 2 * straight_share(ignored)
        assert begun(records) < begun(ignored)


def test_that_new_trials_wait_longer_is_more_than_that_the_others_take_their_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = [begun(usual(noisy, seed)) for seed in (0, 1, 2)]
    monkeypatch.setattr(thaw, "LONG_MEAN", thaw.MEAN)
    assert sum(waiting) < 0.95 * sum(begun(run(noisy, seed)) for seed in (0, 1, 2))


@pytest.mark.parametrize("slots", [1, 8, 16])
def test_who_runs_straight_to_the_end_comes_to_it(slots: int) -> None:
    records = Simulation(auto(trials=150), noisy, slots=slots).run()
    chosen = straights(records)
    assert bool(chosen) == (slots < 16), "sixteen would train all that is left before one comes to its end"
    assert epochs_of(records, chosen) == 20 * len(chosen)


def test_where_most_diverge_those_that_run_straight_count_by_what_they_trained() -> None:
    def often(params: Mapping[str, Any], epoch: int) -> float:
        return math.nan if params["momentum"] < 0.9 else smooth(params, epoch)

    for seed in (0, 1):
        records = Simulation(auto(seed=seed, trials=500, search={"kind": "auto", "epochs": 600}), often, slots=4).run()
        assert epochs_of(records, straights(records)) > 0.05 * 600


def test_where_the_budget_has_grown_there_are_new_ones_that_run_straight() -> None:
    simulation = Simulation(auto(trials=200, epochs=9), smooth, slots=2)
    before = straights(simulation.run())
    simulation.take(Asked(budget={"trials": 400, "epochs": 27}))
    after = straights(simulation.run())
    assert len(after) > len(before) > 2
