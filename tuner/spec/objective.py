"""What is optimized: one metric, or several; and the limits that other metrics have to keep."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, RootModel, Tag

from tuner.spec.model import Broken, Finite, Model, SpecProblems


class Objective(Model):
    """What is optimized; in a list of several the first one is shown where there is room for one only."""

    metric: str = Field(min_length=1)
    """Name of a reported metric."""
    mode: Literal["min", "max"]
    """Whether less or more is better."""

    def score(self, value: float) -> float:
        """Turn a value of the metric into a score: higher is better. Its own inverse."""
        return value if self.mode == "max" else -value

    @property
    def all(self) -> list[Objective]:
        """All objectives: this one."""
        return [self]


class Objectives(RootModel[list[Objective]]):
    """Several objectives; where one is asked for it is the first."""

    model_config = ConfigDict(frozen=True, strict=True)
    root: list[Objective] = Field(min_length=1)

    @property
    def all(self) -> list[Objective]:
        """All objectives, in their order."""
        return self.root

    @property
    def metric(self) -> str:
        """The metric of the first."""
        return self.root[0].metric

    @property
    def mode(self) -> Literal["min", "max"]:
        """The mode of the first."""
        return self.root[0].mode

    def score(self, value: float) -> float:
        """Turn a value of the first into a score."""
        return self.root[0].score(value)


def _form(value: Any) -> str:
    return "list" if isinstance(value, list | Objectives) else "one"


AnyObjective = Annotated[
    Annotated[Objective, Tag("one")] | Annotated[Objectives, Tag("list")], Discriminator(_form)
]  # fmt: skip


def _by_form(value: Any) -> str:
    return "weights" if isinstance(value, dict) else "word"


AnyBy = Annotated[
    Annotated[Literal["nondomination"], Tag("word")] | Annotated[dict[str, Finite], Tag("weights")],
    Discriminator(_by_form),
]
"""How a scheduler ranks by several objectives."""

FAR = 1e6
"""The most by which a limit is said to be broken."""
FORM = re.compile(r"\s*(<=|>=|<|>)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound that a metric has to keep."""

    metric: str
    sign: Literal["<=", "<", ">=", ">"]
    bound: float

    def excess(self, value: float) -> float:
        """Tell how far a value is past the bound, as a part of it (of 1 where it is 0): above 0 where it breaks it.

        What is not finite, and so no measure of anything, breaks every limit by far.
        """
        if not math.isfinite(value):
            return FAR
        over = (value - self.bound) * (1 if self.sign in ("<=", "<") else -1) / (abs(self.bound) or 1.0)
        if over == 0:
            return 0.0 if "=" in self.sign else sys.float_info.epsilon
        return min(max(over, -FAR), FAR)

    def violation(self, value: float) -> float:
        """Tell by how much a value breaks it, as a part of the bound; 0 where it holds."""
        return max(0.0, self.excess(value))

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.bound:g}"


@cache
def read_limit(metric: str, text: str) -> Limit | None:
    """Read `<= 5`; None where the text is none of the forms."""
    if (match := FORM.fullmatch(text)) is None:
        return None
    try:
        bound = float(match[2])
    except ValueError:
        return None
    sign: Any = match[1]
    return Limit(metric, sign, bound) if math.isfinite(bound) else None


def _check_limit(text: str) -> str:
    if read_limit("", text) is None:
        what = f'must be a limit such as "<= 5", with <=, <, >= or > and a finite number, but got {text!r}'
        raise SpecProblems([Broken((), what, 'Write "<= 5", say.')])
    return text


LimitText = Annotated[str, AfterValidator(_check_limit)]


def limits(constraints: Mapping[str, str]) -> list[Limit]:
    """Read the constraints of a spec, which hold by then."""
    return [limit for metric, text in constraints.items() if (limit := read_limit(metric, text)) is not None]
