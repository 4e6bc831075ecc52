"""The base of all models of the spec, and how their validators report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

Place = tuple[str | int, ...]
"""A key's place in the YAML, such as `("space", "lr", "low")`."""


class Broken(NamedTuple):
    """A rule that does not hold: where, what must hold and what was got, and one fix."""

    place: Place
    what: str
    fix: str = ""


class SpecProblems(ValueError):
    """Several broken rules, each with its place."""

    def __init__(self, problems: Iterable[Broken]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problem.what for problem in self.problems))


class Model(BaseModel):
    """A frozen model that takes no unknown key and converts no type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def by_kind(union: Any) -> dict[str, type[Model]]:
    """Name the models of a union, each by the word that its `kind` has to be."""
    return {get_args(one.model_fields["kind"].annotation)[0]: one for one in get_args(union)}


Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is neither infinite nor NaN."""
