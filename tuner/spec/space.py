"""The search space: what a parameter may be, and when it is there at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tuner.spec.model import Broken, Finite, Model, SpecProblems
from tuner.spec.words import brief, shown

Params = dict[str, Any]
Level = Literal["low", "medium", "high"]
CONFIDENCE: dict[Level, float] = {"low": 0.3, "medium": 0.5, "high": 0.8}
"""What the words for a confidence mean: how likely the best value is within a tenth of the range of `prior`."""


def _confidence_form(value: Any) -> str:
    return "word" if isinstance(value, str) else "number"


Confidence = Annotated[
    Annotated[Level, Tag("word")] | Annotated[float, Field(gt=0, lt=1), Tag("number")], Discriminator(_confidence_form)
]


class Dimension(Model):
    """What all parameters of the space have."""

    when: dict[str, Any] = Field(default_factory=dict)
    """Other parameters and the value, or list of values, they must have for this one to be passed."""
    confidence: Confidence | None = None
    """How sure `prior` is: `low` (0.3), `medium` (0.5, the default), `high` (0.8), or a number."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := list(self._problems()):
            raise SpecProblems(problems)
        return self

    def _problems(self) -> Iterator[Broken]:
        yield from ()

    @property
    def sureness(self) -> float:
        """The confidence as a number between 0 and 1."""
        return self.confidence if isinstance(self.confidence, float) else CONFIDENCE[self.confidence or "medium"]

    def active(self, params: Mapping[str, Any]) -> bool:
        """Tell whether this parameter is there, given those it depends on."""
        return matches(self.when, params)


class Float(Dimension):
    """A real number between two bounds."""

    dist: Literal["float"]
    """What kind of parameter this is."""
    low: Finite
    """Lowest value."""
    high: Finite
    """Highest value."""
    log: bool = False
    """Search on a log scale."""
    step: Finite | None = Field(default=None, gt=0)
    """Distance between neighbouring values; not together with `log`."""
    prior: Finite | None = None
    """Where the best value is believed to be."""

    def _problems(self) -> Iterator[Broken]:
        yield from _range_problems(self)
        # Samplers compute high - low: two finite bounds can still lie infinitely far apart.
        if not math.isfinite(self.high - self.low):
            what = f"must be less than 1.7e308 above low, but got {shown(self.high)}"
            yield Broken(("high",), what, "Narrow the range.")

    def contains(self, value: object) -> bool:
        """Tell whether a value can be drawn from this dimension."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        k = (value - self.low) / self.step
        last_bits = 2 * math.ulp(max(abs(self.low), abs(self.high))) / self.step  # far from 0 they are much of a step
        return math.isclose(round(k), k, abs_tol=max(1e-8, last_bits))


class Int(Dimension):
    """A whole number between two bounds, both included."""

    dist: Literal["int"]
    """What kind of parameter this is."""
    low: int
    """Lowest value."""
    high: int
    """Highest value."""
    log: bool = False
    """Search on a log scale."""
    step: int = Field(default=1, ge=1)
    """Distance between neighbouring values; with `log` it must be 1."""
    prior: int | None = None
    """Where the best value is believed to be."""

    def _problems(self) -> Iterator[Broken]:
        yield from _range_problems(self)

    def contains(self, value: object) -> bool:
        """Tell whether a value can be drawn from this dimension."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0


class Choice(Dimension):
    """One of some values of any kind: numbers, strings, lists, null."""

    dist: Literal["choice"]
    """What kind of parameter this is."""
    values: list[Any] = Field(min_length=1)
    """The values, each once."""
    prior: Any = None
    """Which value is believed to be the best; null means none."""

    def _problems(self) -> Iterator[Broken]:
        for i, value in enumerate(self.values):
            if isinstance(value, float) and math.isnan(value):
                # NaN equals nothing, not even itself: it could be drawn but never found again.
                yield Broken(("values", i), "must be a value that equals itself, but got .nan", "Remove it.")
            if any(_same(value, other) for other in self.values[:i]):
                yield Broken(("values", i), f"must differ from the values before it, but got {shown(value)} again",
                             "Remove the second one.")  # fmt: skip

    def contains(self, value: object) -> bool:
        """Tell whether a value can be drawn from this dimension."""
        return any(_same(value, other) for other in self.values)

    def index(self, value: object) -> int:
        """Find the place of a value among the choices."""
        return next(i for i, other in enumerate(self.values) if _same(value, other))


SomeDimension = Float | Int | Choice
AnyDimension = Annotated[SomeDimension, Field(discriminator="dist")]


def order(space: Mapping[str, SomeDimension]) -> list[str]:
    """Sort the names so that each comes after those its `when` names.

    Raises ValueError where a condition names itself in a circle.
    """
    done: list[str] = []
    waiting = list(space)
    while waiting:
        ready = [name for name in waiting if all(other in done or other not in space for other in space[name].when)]
        if not ready:
            raise ValueError(f"must have conditions without a circle, but got one through {', '.join(waiting)}")
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def made(space: Mapping[str, SomeDimension], value: Callable[[str, SomeDimension], Any]) -> Params:
    """Make params, each after those that its condition names; one whose condition does not hold is left out."""
    params: Params = {}
    for name in order(space):
        if space[name].active(params):
            params[name] = value(name, space[name])
    return params


def indices(space: Mapping[str, SomeDimension], params: Mapping[str, Any]) -> dict[str, int]:
    """Find the place of each choice among its values."""
    return {n: d.index(params[n]) for n, d in space.items() if isinstance(d, Choice) and n in params}


def snap(dimension: Float | Int, value: float) -> float | int:
    """Bring a number into the bounds and onto the steps."""
    value = min(max(value, dimension.low), dimension.high)
    if isinstance(dimension, Int):
        steps = int((value - dimension.low) / dimension.step + 0.5)
        return dimension.low + min(steps, (dimension.high - dimension.low) // dimension.step) * dimension.step
    if dimension.step is not None:
        # Where the steps do not end at `high`, the last one lies below it.
        last = math.floor((dimension.high - dimension.low) / dimension.step + 1e-8)
        steps = min(round((value - dimension.low) / dimension.step), last)
        return min(dimension.low + steps * dimension.step, dimension.high)
    return value


def grid_size(space: Mapping[str, SomeDimension]) -> int:
    """Count the points of a grid over a space that has `step` or `choice` everywhere."""
    return math.prod(_grid_count(dimension) for dimension in space.values())


def grid_values(dimension: SomeDimension) -> list[Any]:
    """List the values of one dimension of a grid.

    Raises ValueError for a float without `step`.
    """
    if isinstance(dimension, Choice):
        return list(dimension.values)
    if isinstance(dimension, Int):
        return list(range(dimension.low, dimension.high + 1, dimension.step))
    count, step = _grid_count(dimension), dimension.step or 0.0
    return [min(dimension.low + i * step, dimension.high) for i in range(count)]


def _grid_count(dimension: SomeDimension) -> int:
    if isinstance(dimension, Choice):
        return len(dimension.values)
    if isinstance(dimension, Int):
        return (dimension.high - dimension.low) // dimension.step + 1
    if dimension.step is None:
        raise ValueError("a grid needs `step` or `choice` everywhere")
    return math.floor((dimension.high - dimension.low) / dimension.step + 1e-8) + 1


def can_be(dimension: SomeDimension) -> str:
    """Say which values a parameter can have."""
    if isinstance(dimension, Choice):
        return f"Use one of {shown(dimension.values)}."
    kind = "number" if isinstance(dimension, Float) else "whole number"
    step = f" in steps of {brief(dimension.step)}" if dimension.step not in (None, 1) else ""
    return f"Use a {kind} from {brief(dimension.low)} to {brief(dimension.high)}{step}."


def matches(when: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Tell whether the parameters of a condition are there and have the values, or one of the values, it names."""
    return all(name in params and _is_one_of(params[name], wanted) for name, wanted in when.items())


def _is_one_of(value: object, wanted: object) -> bool:
    options = wanted if isinstance(wanted, list) else [wanted]
    return any(_same(value, option) for option in options)


def _same(a: object, b: object) -> bool:
    """Compare as YAML does: 1 is not true, 1 is 1.0 only as a number."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return a == b


def _range_problems(dimension: Float | Int) -> Iterator[Broken]:
    low, high, step = dimension.low, dimension.high, dimension.step
    if low == high:
        yield Broken(("low",), f"must be below high ({brief(high)}), but got {brief(low)}",
                     "Move the parameter to fixed, or widen the range.")  # fmt: skip
    elif low > high:
        yield Broken(("low",), f"must be below high ({brief(high)}), but got {brief(low)}", "Swap the two.")
    elif step is not None and step > high - low:
        what = f"must be at most high - low ({brief(high - low)}), but got {brief(step)}"
        yield Broken(("step",), what, "Make it smaller.")
    if dimension.log and low <= 0:
        yield Broken(("low",), f"must be above 0 where log is true, but got {brief(low)}",
                     "Raise low (1e-6, say), or remove log.")  # fmt: skip
    if dimension.log and step is not None and (isinstance(dimension, Float) or step != 1):
        yield Broken(("step",), f"must be left out where log is true, but got {brief(step)}", "Remove step or log.")
