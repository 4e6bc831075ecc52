"""The stand-in for this service's `trial`, so that every peer trains by the very same function."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

Report = Callable[[int, float, dict[str, float]], None]


class PeerTrial:
    """Count epochs and time them; what a report does is the peer's."""

    def __init__(self, name: str, params: dict[str, Any], epochs: int, seed: int, folder: Path) -> None:
        self.id = name
        self.params = params
        self.total_epochs = epochs
        self.seed = seed
        self.folder = folder
        self.device = torch.device("cpu")
        self.on_report: Report = lambda epoch, seconds, metrics: None
        self._tracked: dict[str, Any] = {}
        self._epoch = 0
        self._began = 0.0
        torch.set_num_threads(1)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def track(self, **objects: Any) -> None:
        """Remember what each checkpoint holds."""
        self._tracked.update(objects)

    def epochs(self) -> Iterator[int]:
        """Yield 1 to the budget's last epoch; an epoch's time runs from here to its report."""
        for epoch in range(1, self.total_epochs + 1):
            self._epoch = epoch
            self._began = time.perf_counter()
            yield epoch

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the loader's batches."""
        return iter(loader)

    def report(self, metrics: Mapping[str, float] | None = None, **more: float) -> None:
        """Stop the epoch's clock and hand over to the peer; its checkpoint lies outside the clock."""
        seconds = time.perf_counter() - self._began
        values = {name: float(value) for name, value in {**(metrics or {}), **more}.items()}
        self.on_report(self._epoch, seconds, values)

    def save(self, path: Path) -> None:
        """Write a checkpoint of all that is tracked."""
        torch.save({name: one.state_dict() for name, one in self._tracked.items()}, path)

    def log(self, name: str, value: Any) -> None:
        """Drop it: no peer writes texts or images."""

    def test(self, function: Callable[[], Mapping[str, float]]) -> None:
        """Drop it: no peer tests its best."""
