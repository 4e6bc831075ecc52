"""What trials will need of a GPU: bounds, a fitted formula, and how many do well side by side."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.core.foresight import FEWEST, Point, formula
from tuner.core.packing import GAIN, MOST, REPORTS, Packing
from tuner.core.sizing import Sizes

from .experiments import experiment

SPACE: dict[str, Any] = {
    "width": {"dist": "choice", "values": [64, 128, 256, 512]},
    "batch": {"dist": "int", "low": 1, "high": 512},
    "lr": {"dist": "float", "low": 0.001, "high": 1.0},
    "kind": {"dist": "choice", "values": ["small", "large"]},
}
MIB = 2**20


def sizes() -> Sizes:
    return Sizes.of(experiment(space=SPACE).space)


def params(width: int = 64, batch: int = 32, kind: str = "small", lr: float = 0.1) -> dict[str, Any]:
    return {"width": width, "batch": batch, "kind": kind, "lr": lr}


def test_bounds_come_from_smaller_and_from_larger_trials_of_the_same_kind() -> None:
    known = sizes()
    assert known.bounds(params()) == (0, None)
    known.measured(params(64, 32), 1, 10 * MIB)
    known.measured(params(256, 128), 1, 90 * MIB)
    assert known.bounds(params(128, 64)) == (10 * MIB, 90 * MIB)
    assert known.bounds(params(64, 32, lr=0.7)) == (10 * MIB, 10 * MIB), "a float does not matter"
    assert known.bounds(params(512, 16)) == (0, None), "neither larger nor smaller"
    assert known.bounds(params(512, 128)) == (90 * MIB, None)
    assert known.bounds(params(128, 64, kind="large")) == (0, None), "a name is no number"


def test_what_ran_out_needs_more_than_it_had_and_smaller_parts_need_no_more() -> None:
    known = sizes()
    known.ran_out(params(256, 128), 1, 40 * MIB)
    assert known.bounds(params(256, 128)) == (40 * MIB, None)
    assert known.bounds(params(512, 256)) == (40 * MIB, None)
    assert known.bounds(params(256, 128), parts=2) == (0, None), "half a batch may fit"
    known.measured(params(256, 128), 2, 30 * MIB)
    known.measured(params(256, 128), 1, 35 * MIB)
    assert known.bounds(params(256, 128)) == (40 * MIB, None), "it was not measured in full before it ran out"
    known.measured(params(256, 128), 1, 50 * MIB)
    assert known.bounds(params(256, 128)) == (50 * MIB, 50 * MIB)
    assert known.bounds(params(128, 64), parts=2)[1] == 30 * MIB


def test_a_param_that_shrinks_memory_counts_as_a_name_from_then_on() -> None:
    known = sizes()
    known.measured(params(64, 16), 1, 100 * MIB)
    known.measured(params(64, 32), 1, 60 * MIB)
    known.measured(params(256, 32), 1, 200 * MIB)
    assert known.bounds(params(128, 24)) == (0, None)
    assert known.bounds(params(128, 32)) == (60 * MIB, 200 * MIB), "the width still grows"


def test_an_allocator_that_reserves_by_fits_and_starts_does_not_make_the_batch_a_name() -> None:
    """What one H200 took for the batches of one model of `benchmarks/edge_gpu.py`, in the order of its trials."""
    known = sizes()
    gib = {126: 100, 176: 112, 37: 79, 273: 100, 16: 74, 391: 128, 429: 137, 212: 121}
    for batch, took in gib.items():
        known.measured(params(256, batch), 1, took * 1024 * MIB)
    told = known.foreseen(params(256, 800))
    assert told is not None
    assert 140 < told[0] / (1024 * MIB) < told[1] / (1024 * MIB) < 280


def test_a_little_less_for_a_larger_one_is_noise() -> None:
    known = sizes()
    known.measured(params(64, 16), 1, 100 * MIB)
    known.measured(params(64, 32), 1, 97 * MIB)
    assert known.bounds(params(64, 24)) == (100 * MIB, None), "they contradict each other: it is not known"
    known.measured(params(64, 48), 1, 120 * MIB)
    assert known.bounds(params(64, 40)) == (100 * MIB, 120 * MIB)


@given(st.lists(st.tuples(st.sampled_from([64, 128, 256, 512]), st.integers(1, 512)), min_size=1, max_size=30))
def test_no_bound_is_wrong_where_memory_grows(tried: list[tuple[int, int]]) -> None:
    def need(width: int, batch: int) -> int:
        return width * width + width * batch

    known = sizes()
    for width, batch in tried:
        least, most = known.bounds(params(width, batch))
        assert least <= need(width, batch) <= (most or math.inf)
        known.measured(params(width, batch), 1, need(width, batch))
        assert known.bounds(params(width, batch)) == (need(width, batch),) * 2


def test_memory_is_foreseen_beyond_what_was_measured() -> None:
    dice = random.Random(0)

    def need(width: int, batch: int, parts: int = 1) -> int:
        return width * width * 40 + width * batch * 100 // parts

    known = sizes()
    for _ in range(30):
        width, batch = dice.choice([64, 128, 256]), dice.randint(1, 256)
        known.measured(params(width, batch), 1, need(width, batch))
        assert known.foreseen(params(512, 512)) is None or len(known.cells) >= FEWEST
    told = known.foreseen(params(512, 512))
    assert told is not None
    assert 0.5 * need(512, 512) < told[0] <= told[1] < 1.1 * need(512, 512)
    assert known.foreseen(params(512, 512, kind="large")) is None, "of the other kind nothing is known"
    guess = known.expected(params(512, 512, kind="large"))
    assert guess is not None
    assert guess >= told[1], "but a guess is better than nothing"


def test_a_param_along_which_memory_falls_has_no_slope() -> None:
    points = [Point((float(patch), 32.0), 1000 // patch) for patch in range(1, 12)]
    found = formula(points, 2)
    assert found is not None
    assert found.least((24.0, 32.0)) <= 1000


@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_little_tells_nothing(count: int) -> None:
    assert formula([Point((float(i + 1),), 10 * i + 10) for i in range(count)], 1) is None


def speeds(packing: Packing, *work: float) -> None:
    """Let trials do so much work in all, at each level in turn."""
    for done in work:
        level = packing.level
        for _ in range(REPORTS * level):
            packing.heard(level, 1.0, level / done)


def test_trials_are_packed_as_long_as_the_sum_grows() -> None:
    packing = Packing()
    speeds(packing, 1.0, 1.7, 2.4)
    assert (packing.level, packing.settled) == (8, False)
    speeds(packing, 2.4 * GAIN * 0.99)
    assert (packing.level, packing.settled) == (4, True)
    assert packing.sums == pytest.approx({1: 1.0, 2: 1.7, 4: 2.4, 8: 2.4 * GAIN * 0.99})
    speeds(packing, 100.0)
    assert packing.level == 4, "it is settled"


def test_a_gpu_that_one_trial_fills_is_not_shared() -> None:
    packing = Packing()
    speeds(packing, 1.0, 1.02)
    assert (packing.level, packing.settled) == (1, True)


def test_what_was_not_measured_side_by_side_says_nothing() -> None:
    packing = Packing()
    for together, alone, step in ((0, 1.0, 1.0), (2, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, 0.0)):
        for _ in range(10):
            packing.heard(together, alone, step)
    assert (packing.level, packing.sums) == (1, {})


def test_what_fits_three_times_is_judged_as_three() -> None:
    packing = Packing()
    speeds(packing, 1.0, 1.5)
    for _ in range(REPORTS * 3):
        packing.heard(3, 1.0, 3 / 1.2)
    assert (packing.level, packing.settled) == (2, True)
    packing = Packing()
    speeds(packing, 1.0, 1.5)
    for _ in range(REPORTS * 3):
        packing.heard(3, 1.0, 3 / 2.0)
    assert (packing.level, packing.settled) == (4, False), "three are better than two; four were not seen yet"


def test_no_more_than_so_many_share_a_gpu_however_well_they_do() -> None:
    packing = Packing()
    speeds(packing, *(float(2**i) for i in range(5)))
    assert (packing.level, packing.settled) == (MOST, True)


def test_only_the_newest_cells_are_kept() -> None:
    known = sizes()
    for batch in range(1, 502):
        known.measured(params(64, batch), 1, batch)
    assert len(known.cells) == 500
    assert known.bounds(params(64, 1)) == (0, 2)
