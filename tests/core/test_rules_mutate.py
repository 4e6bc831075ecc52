"""The params of PBT's clones: drawn, perturbed or left alone, always within the space."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.core.events import Free
from tuner.core.rules.mutate import mutate, perturb
from tuner.core.search.scale import draw
from tuner.spec.space import Choice, Float, Int

from .experiments import CONDITIONAL, PLAIN, STEPPED, Hand
from .populations import spec

SPACES = {"plain": PLAIN, "stepped": STEPPED, "conditional": CONDITIONAL}

numbers = st.floats(min_value=-1e6, max_value=1e6, width=32)


@st.composite
def dimensions(draw: st.DrawFn) -> Float | Int | Choice:
    kind = draw(st.sampled_from(["float", "float", "log", "int", "int log", "choice"]))
    if kind == "choice":
        return Choice(dist="choice", values=draw(st.lists(st.integers(), min_size=1, max_size=4, unique=True)))
    if kind == "float":
        low = draw(numbers)
        high = low + draw(st.floats(min_value=0.125, max_value=1e3))
        step = draw(st.none() | st.floats(min_value=0.01, max_value=1.0).map(lambda share: (high - low) * share))
        return Float(dist="float", low=low, high=high, step=step)
    if kind == "log":
        low = draw(st.floats(min_value=1e-9, max_value=1e3))
        return Float(dist="float", low=low, high=low * draw(st.floats(min_value=1.01, max_value=1e6)), log=True)
    low_int = draw(st.integers(min_value=1 if kind == "int log" else -50, max_value=1000))
    high_int = low_int + draw(st.integers(min_value=1, max_value=300))
    step_int = 1 if kind == "int log" else draw(st.integers(min_value=1, max_value=high_int - low_int))
    return Int(dist="int", low=low_int, high=high_int, log=kind == "int log", step=step_int)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(dimensions(), st.lists(st.booleans(), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_what_is_drawn_or_perturbed_again_and_again_stays_within_the_space(
    dimension: Float | Int | Choice, ways: list[bool], u: float
) -> None:
    value = draw(dimension, u)
    assert dimension.contains(value)
    for upwards in ways:
        value = perturb(dimension, value, upwards)
        assert dimension.contains(value)


def test_perturbing_by_hand() -> None:
    real = Float(dist="float", low=0.1, high=1.0)
    assert [perturb(real, 0.5, up) for up in (False, True)] == [0.4, 0.6]
    assert [perturb(real, value, up) for value, up in ((0.11, False), (0.9, True))] == [0.1, 1.0]
    stepped = Float(dist="float", low=0.0, high=1.0, step=0.35)
    assert perturb(stepped, 0.7, True) == 0.7, "1.0 is no multiple of the step"
    whole = Int(dist="int", low=1, high=64)
    assert [perturb(whole, 10, up) for up in (False, True)] == [8, 12]
    assert [perturb(whole, 2, up) for up in (False, True)] == [1, 3], "a factor would change nothing: one step"
    assert [perturb(whole, value, up) for value, up in ((1, False), (64, True))] == [1, 64]
    tenths = Float(dist="float", low=0.0, high=0.5, step=0.1)
    moved = [[perturb(tenths, value, up) for up in (False, True)] for value in (0.0, 0.1, 0.2, 0.5)]
    assert moved == [pytest.approx(pair) for pair in ([0.0, 0.1], [0.0, 0.2], [0.1, 0.3], [0.4, 0.5])]
    choice = Choice(dist="choice", values=[[1], None, "c"])
    assert [perturb(choice, None, up) for up in (False, True)] == [[1], "c"]
    assert [perturb(choice, value, up) for value, up in (([1], False), ("c", True))] == [[1], "c"]


def test_drawing_by_hand() -> None:
    log = Float(dist="float", low=1e-4, high=1.0, log=True)
    assert [draw(log, u) for u in (0.0, 0.5)] == [pytest.approx(1e-4), pytest.approx(1e-2)]
    assert [draw(Float(dist="float", low=-1.0, high=3.0), u) for u in (0.0, 0.25)] == [-1.0, 0.0]
    for stepped in (Float(dist="float", low=0.0, high=0.5, step=0.1), Int(dist="int", low=1, high=6)):
        drawn = Counter(draw(stepped, (i + 0.5) / 600) for i in range(600))
        assert set(drawn.values()) == {100}, "each value as often as any other, those at the ends too"
    choice = Choice(dist="choice", values=["a", "b"])
    assert [draw(choice, u) for u in (0.0, 0.49, 0.5, 0.999)] == ["a", "a", "b", "b"]


def clones(space: Mapping[str, Any], count: int = 60, **scheduler: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Mutate the members of a first population; pairs of the donor's params and the clone's."""
    made = spec(count, space=space, **scheduler)
    run = Hand(made)
    for _ in range(count):
        run.do(Free())
    pairs = []
    for number, trial in enumerate(run.core.run.trials.values()):
        params, choices = mutate(made, trial, ("t", 0, number))
        assert choices == {
            name: index
            for name, dimension in made.space.items()
            if name in params and isinstance(dimension, Choice)
            for index, value in enumerate(dimension.values)
            if value == params[name] and type(value) is type(params[name])
        }
        pairs.append((trial.params, params))
    return pairs


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("everything", [False, True])
def test_mutated_params_lie_within_the_space_and_keep_its_conditions(space: dict[str, Any], everything: bool) -> None:
    made = spec(space=space)
    for _, params in clones(space, mutate=list(space) if everything else None):
        assert set(params) == {name for name, dimension in made.space.items() if dimension.active(params)}
        assert all(made.space[name].contains(value) for name, value in params.items())


def test_choices_are_left_alone_unless_they_are_named() -> None:
    for donor, clone in clones(CONDITIONAL):
        assert {n: v for n, v in clone.items() if n not in ("lr", "beta")} == {
            n: v for n, v in donor.items() if n not in ("lr", "beta")
        }
        assert clone["lr"] != donor["lr"]
    named = clones(CONDITIONAL, mutate=["optimizer"])
    assert all(clone["lr"] == donor["lr"] for donor, clone in named), "not in the list"
    changed = [(donor, clone) for donor, clone in named if donor["optimizer"] != clone["optimizer"]]
    assert len(changed) > 10
    appeared = [clone for donor, clone in changed if clone["optimizer"] == "adam"]
    assert all("beta" in clone and "momentum" not in clone for clone in appeared)
    assert len({clone["beta"] for clone in appeared}) > 1, "drawn, since the donor has none"


@pytest.mark.parametrize("resample", [0.0, 0.25, 1.0])
def test_resample_is_the_share_that_is_drawn_anew(resample: float) -> None:
    perturbed = [
        any(math.isclose(clone["lr"], donor["lr"] * factor) for factor in (0.8, 1.2)) or clone["lr"] == 1.0
        for donor, clone in clones(PLAIN, 200, resample=resample)
    ]
    assert perturbed.count(False) / 200 == pytest.approx(resample, abs=0.1)


def test_both_factors_occur_and_parameters_are_changed_independently() -> None:
    ways = Counter(
        tuple(clone[name] > donor[name] for name in ("lr", "layers"))
        for donor, clone in clones(PLAIN, 200, resample=0.0)
        if donor["lr"] < 0.8 and 1 < donor["layers"] < 8
    )
    assert set(ways) == set(itertools.product((False, True), repeat=2))
    up = [clone["lr"] > donor["lr"] for donor, clone in clones(PLAIN, 300, resample=0.5) if donor["lr"] < 0.8]
    assert up.count(True) / len(up) == pytest.approx(0.5, abs=0.08)
