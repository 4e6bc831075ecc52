"""How long a step of training takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")
WARM = 2
"""So many steps of a loop are not measured: the first ones choose kernels and fill caches."""
PROBE_STEPS = 5
"""So many batches of each loop a trial trains that is only measured."""


class Pace:
    """Measures the steps of loops over batches, and may end them early."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        """Batches of a loop, at most; None for all."""
        self._seconds, self._steps = 0.0, 0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loop, and measure the steps between them where gradients are wanted."""
        began, count, trains = 0.0, 0, _wants_gradients()
        try:
            for batch in batches:
                if count == WARM and trains:
                    began = _now()
                if count == self.most:
                    break
                count += 1
                yield batch
        finally:
            if began and count > WARM:
                self._seconds, self._steps = self._seconds + _now() - began, self._steps + count - WARM

    def take(self) -> float:
        """Tell the seconds of a step since this was asked last; 0 where none was measured."""
        step = self._seconds / self._steps if self._steps else 0.0
        self._seconds, self._steps = 0.0, 0
        return step


def _now() -> float:
    """Tell the time, once a GPU has done what it was given."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.monotonic()


def _wants_gradients() -> bool:
    torch = sys.modules.get("torch")
    return torch is None or bool(torch.is_grad_enabled())
