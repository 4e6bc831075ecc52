"""A spec while it is read: plain values, where each was written, and what is wrong so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.errors import Problem
from tuner.spec.model import Broken, Place


@dataclass
class Draft:
    """The values of a YAML file with the line of each, and the problems found in them."""

    value: dict[str, Any] = field(default_factory=dict)
    wheres: dict[Place, str] = field(default_factory=dict)
    """Where each key was written: `file:line`, or the flag that gave it."""
    problems: list[Problem] = field(default_factory=list)
    refused: set[Place] = field(default_factory=set)
    """Places already complained about: what follows from them is not reported again."""

    def where(self, place: Place) -> str:
        """Find where a key, or the nearest key around it, was written."""
        for length in range(len(place), -1, -1):
            if where := self.wheres.get(place[:length]):
                return where
        return "spec"

    def report(self, broken: Broken) -> None:
        """Add a problem, unless it follows from one that is known."""
        if self.is_refused(broken.place):
            return
        path = dotted(broken.place)
        problem = Problem(self.where(broken.place), path, broken.what, broken.fix)
        if problem not in self.problems:
            self.problems.append(problem)

    def refuse(self, place: Place, what: str, fix: str = "") -> None:
        """Add a problem and say nothing more about this key or those under it."""
        self.report(Broken(place, what, fix))
        self.refused.add(place)

    def is_refused(self, place: Place) -> bool:
        """Tell whether a problem with this key, or one around it, is known."""
        return any(place[:length] in self.refused for length in range(len(place) + 1))

    def mapping(self, *place: str | int) -> dict[str, Any]:
        """Get the mapping at a place; an empty one where there is none."""
        value = self.get(place)
        return value if isinstance(value, dict) else {}

    def get(self, place: Iterable[str | int]) -> Any:
        """Get the value at a place, None where there is none."""
        value: Any = self.value
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def put(self, place: Place, value: Any, wheres: Mapping[Place, str]) -> None:
        """Set one value and forget what was known about the old one."""
        self.wheres = {known: where for known, where in self.wheres.items() if known[: len(place)] != place}
        self.refused = {known for known in self.refused if known[: len(place)] != place}
        self.mapping(*place[:-1])[str(place[-1])] = value
        self.wheres.update(wheres)

    def rename(self, old: Place, new: Place) -> None:
        """Move a value to the key that was meant."""
        self.mapping(*new[:-1])[str(new[-1])] = self.mapping(*old[:-1]).pop(str(old[-1]))
        moved = {new + known[len(old) :]: w for known, w in self.wheres.items() if known[: len(old)] == old}
        self.wheres.update(moved)


def dotted(place: Place) -> str:
    """Write a place as a dotted path: `start.points.0.lr`."""
    return ".".join(str(key) for key in place)
