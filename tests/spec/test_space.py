"""Dimensions, their order and their grids."""

from __future__ import annotations

import pytest

from tuner.spec import space as spaces
from tuner.spec.space import Choice, Float, Int


def test_contains_minds_bounds_steps_and_types() -> None:
    stepped = Float(dist="float", low=0.1, high=0.9, step=0.1)
    assert stepped.contains(0.3) and not stepped.contains(0.35) and not stepped.contains(1.0)
    whole = Int(dist="int", low=8, high=64, step=8)
    assert whole.contains(16) and not whole.contains(12) and not whole.contains(16.0) and not whole.contains(True)


def test_choices_tell_true_from_one_also_in_lists() -> None:
    choice = Choice(dist="choice", values=[1, True, [1], [True], None])
    assert [choice.index(value) for value in choice.values] == [0, 1, 2, 3, 4]


def test_order_puts_conditions_first() -> None:
    space = {
        "c": Choice(dist="choice", values=[1], when={"b": 1}),
        "b": Choice(dist="choice", values=[1], when={"a": 1}),
        "a": Choice(dist="choice", values=[1]),
    }
    assert spaces.order(space) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "dimension",
    [
        Float(dist="float", low=0.1, high=0.35, step=0.1),
        Int(dist="int", low=1, high=10, step=4),
        Choice(dist="choice", values=["a", None]),
    ],
)
def test_a_grid_is_as_long_as_it_says(dimension: spaces.SomeDimension) -> None:
    values = spaces.grid_values(dimension)
    assert len(values) == spaces.grid_size({"x": dimension})
    assert all(dimension.contains(value) for value in values)


def test_the_size_of_a_grid_is_known_without_making_it() -> None:
    assert spaces.grid_size({"x": Int(dist="int", low=1, high=10**18)}) == 10**18
