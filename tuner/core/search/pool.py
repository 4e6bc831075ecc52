"""The candidates of a freeze-thaw search, and which column of the model is whose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.core.search.joint import Array
from tuner.core.search.points import Points
from tuner.spec.space import Params

SIZE = 512
"""New params that compete at any time."""
FRESH = 16
"""So many of them, the oldest, are exchanged with each new trial."""
UNBORN = 1_000_000
"""Where the ids of columns begin that are no trial's: a trial's is its number."""

Put = Callable[[NDArray[np.int64], Array, NDArray[np.int64]], None]
"""(places, points, ids) → nothing: puts columns into the model."""


@dataclass(slots=True)
class _Candidate:
    params: Params
    point: Array
    belief: float
    """How much more likely it is by the user's priors than by an even draw: a logarithm."""


class Pool:
    """New params by their column, in the order in which they came, and the columns of trials that may go on."""

    def __init__(self, points: Points, put: Put, belief: Callable[[Params], float]) -> None:
        self.points, self._put, self._belief = points, put, belief
        self.candidates: dict[int, _Candidate] = {}
        self.trials: dict[int, int] = {}
        """Trial → its column."""
        self._tried: set[bytes] = set()
        """The points of all trials: where there are few in all, the rest is to be tried too."""
        self._free: deque[int] = deque()
        self._size = 0
        self._made = 0

    def add(self, several: Sequence[Params]) -> None:
        """Let more new params compete, but for those that were tried."""
        x = self.points.all_of(several)
        new = [i for i, point in enumerate(x) if not self.was_tried(point)]
        if not new:
            return
        several, x = [several[i] for i in new], x[new]
        places = np.array([self._place() for _ in several], dtype=np.int64)
        for place, params, point in zip(places.tolist(), several, x, strict=True):
            self.candidates[place] = _Candidate(params, point, self._belief(params))
        ids = UNBORN + self._made + np.arange(len(several))
        self._made += len(several)
        self._put(places, x, ids)

    def was_tried(self, point: Array) -> bool:
        """Tell whether a trial had these params."""
        return point.tobytes() in self._tried

    def begin(self, trial: int, point: Array) -> None:
        """Give a new trial a column: that of the candidate that it was, if there was one; others like it are let go."""
        self._tried.add(point.tobytes())
        same = [place for place, one in self.candidates.items() if np.array_equal(one.point, point)]
        for one in same:
            del self.candidates[one]
        place = same.pop(0) if same else self._place()
        self._free.extend(same)
        self.trials[trial] = place
        self._put(np.array([place]), point[None], np.array([trial]))

    def end(self, trial: int) -> None:
        """Let the column of a trial go that will not go on."""
        if (place := self.trials.pop(trial, None)) is not None:
            self._free.append(place)

    def drop(self, params: Params) -> None:
        """Let a candidate go that was tried under other params, as benchmarks with a table of configs do."""
        for place in [place for place, one in self.candidates.items() if one.params == params]:
            del self.candidates[place]
            self._free.append(place)

    def drop_oldest(self, count: int) -> None:
        """Let the oldest candidates go."""
        for place in list(self.candidates)[: max(count, 0)]:
            del self.candidates[place]
            self._free.append(place)

    def _place(self) -> int:
        if self._free:
            return self._free.popleft()
        self._size += 1
        return self._size - 1
