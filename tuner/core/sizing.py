"""How much memory of a GPU a trial needs: bounds, from what others of the run took.

What decides about memory is taken to be the params that are whole numbers or choices: the size of a model, of a batch.
Floats, such as a learning rate, are not. Along a param of numbers memory is taken to grow, and with more parts of a
batch not to: bounds as in isotonic regression (Barlow et al. 1972), without a formula for any model. A param that is
caught shrinking memory (the size of a patch) counts as a mere name from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.core.foresight import Point, formula
from tuner.spec.space import Choice, Float, Int, SomeDimension

PARTS = ""
"""Among the params of a place: minus the number of parts in which each batch comes."""

TOLERANCE = 1.5
"""So much may a larger model take less before its params count as shrinking memory.

What an allocator reserves is no smooth function of the params:
on an H200 112 GiB with a batch of 176, and 100 with 273.
"""
MOST = 500
"""So many different trials are remembered, the newest ones."""
Place = tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Cell:
    """What is known of trials that agree in all that decides about memory."""

    peak: int = 0
    """The most that any of them took, bytes; 0 where none was measured."""
    ran_out: int = 0
    """The most with which one of them ran out, bytes."""
    step: float = 0.0
    """Seconds of a step, alone on a GPU; 0 where that was not measured."""

    @property
    def least(self) -> int:
        """What is needed at least, as far as this cell tells."""
        return max(self.peak, self.ran_out)

    @property
    def enough(self) -> int | None:
        """What is enough; None where that is not known."""
        return self.peak if self.peak > self.ran_out else None


@dataclass(slots=True)
class Sizes:
    """Learns what trials take, and tells what another one will need."""

    names: tuple[str, ...]
    """Params that decide about memory, sorted."""
    numbers: tuple[str, ...]
    """Those of them along which it grows, sorted."""
    cells: dict[Place, Cell] = field(default_factory=dict)
    version: int = 0
    """Grows with all that is learned: what was found before holds as long as it stays."""

    @classmethod
    def of(cls, space: Mapping[str, SomeDimension]) -> Sizes:
        """Know nothing of the trials of a space."""
        names = [name for name, one in space.items() if not isinstance(one, Float)]
        numbers = [name for name in names if _is_numeric(space[name])]
        return cls(tuple(sorted([PARTS, *names])), tuple(sorted([PARTS, *numbers])))

    def cell(self, params: Mapping[str, Any], parts: int = 1) -> Cell:
        """Find what is known of exactly such trials."""
        return self.cells.get(self._place(params, parts), Cell())

    def measured(self, params: Mapping[str, Any], parts: int, peak: int, step: float = 0.0) -> None:
        """Take in what a trial took, and where it was alone on a GPU its seconds a step."""
        place = self._place(params, parts)
        cell = self._cell(place)
        if cell.peak >= peak and (cell.step or not step):
            return
        self.version += 1
        cell.peak, cell.step = max(cell.peak, peak), cell.step or step
        self._learn_shrinking(place, cell)

    def ran_out(self, params: Mapping[str, Any], parts: int, memory: int) -> None:
        """Take in that so many bytes were not enough."""
        cell = self._cell(self._place(params, parts))
        cell.ran_out = max(cell.ran_out, memory)
        self.version += 1

    def bounds(self, params: Mapping[str, Any], parts: int = 1) -> tuple[int, int | None]:
        """Bound the bytes that a trial needs: at least, and at most; None where nothing larger was measured."""
        place = self._place(params, parts)
        own = self.cells.get(place, Cell()).enough
        if own is not None:
            return own, own
        least = max((cell.least for other, cell in self.cells.items() if self._below(other, place)), default=0)
        above = [cell.enough for other, cell in self.cells.items() if self._below(place, other)]
        most = min((enough for enough in above if enough is not None), default=None)
        return least, None if most is None or most < least else most

    def foreseen(self, params: Mapping[str, Any], parts: int = 1) -> tuple[float, float] | None:
        """Tell the bytes that a trial will need, by what those took that differ from it in numbers alone.

        At least, and as a rule; None where too little is known.
        """
        place = self._place(params, parts)
        alike = [(other, cell) for other, cell in self.cells.items() if cell.peak and self._same_names(other, place)]
        numbers = self._as_numbers(place)
        found = formula([Point(self._as_numbers(other), cell.peak) for other, cell in alike], len(numbers))
        return (found.least(numbers), found.middle(numbers)) if found is not None else None

    def expected(self, params: Mapping[str, Any], parts: int = 1) -> float | None:
        """Guess the bytes that a trial will need at most, whatever its names: None where too little is known."""
        numbers = self._as_numbers(self._place(params, parts))
        measured = [(self._as_numbers(other), cell.peak) for other, cell in self.cells.items() if cell.peak]
        points = [Point(others, peak) for others, peak in measured if len(others) == len(numbers)]
        found = formula(points, len(numbers))
        return found.most(numbers) if found is not None else None

    def _same_names(self, one: Place, other: Place) -> bool:
        pairs = zip(one, other, strict=True)
        return all(a == b or (name in self.numbers and None not in (a, b)) for (name, a), (_, b) in pairs)

    def _as_numbers(self, place: Place) -> tuple[float, ...]:
        """List the numbers of a place; parts as a share, so that they grow as memory does."""
        known = [(name, value) for name, value in place if name in self.numbers and value is not None]
        return tuple(-1 / value if name == PARTS else float(value) for name, value in known)

    def _cell(self, place: Place) -> Cell:
        if place not in self.cells and len(self.cells) == MOST:
            del self.cells[next(iter(self.cells))]
        return self.cells.setdefault(place, Cell())

    def _place(self, params: Mapping[str, Any], parts: int) -> Place:
        values = {**{name: params.get(name) for name in self.names}, PARTS: -parts}
        return tuple((name, _hashable(values[name])) for name in self.names)

    def _below(self, low: Place, high: Place) -> bool:
        """Tell whether the one place needs no more than the other, by all that is known."""
        return all(a == b or self._grows(name, a, b) for (name, a), (_, b) in zip(low, high, strict=True))

    def _grows(self, name: str, low: Any, high: Any) -> bool:
        return name in self.numbers and low is not None and high is not None and bool(low < high)

    def _learn_shrinking(self, place: Place, cell: Cell) -> None:
        for other, known in self.cells.items():
            pairs = ((other, known), (place, cell)), ((place, cell), (other, known))
            for (low, smaller), (high, larger) in pairs:
                if larger.peak and smaller.peak > TOLERANCE * larger.peak and self._below(low, high):
                    shrinking = set(_differing(low, high))
                    self.numbers = tuple(name for name in self.numbers if name not in shrinking)


def _differing(one: Place, other: Place) -> Iterator[str]:
    return (name for (name, a), (_, b) in zip(one, other, strict=True) if a != b and name != PARTS)


def _is_numeric(dimension: SomeDimension) -> bool:
    if isinstance(dimension, Choice):
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in dimension.values)
    return isinstance(dimension, Int)


def _hashable(value: Any) -> Any:
    """A value of a choice may be a list, or a mapping; a bool shall not equal a number."""
    return value if value is None or type(value) in (int, float, str) else repr(value)
