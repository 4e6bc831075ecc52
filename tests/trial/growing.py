"""Loops whose memory grows, in a process whose memory can be measured."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.trial import growth
from tuner.trial.growth import MIB

from .study import assignment, run

Train = Callable[[Trial], None]

M_MMAP_THRESHOLD = -3
WIDE = 512 * 1024
"""Numbers in a row, 2 MiB."""


@pytest.fixture(autouse=True)
def sees_growth_beside_what_other_tests_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PART", 0.0)
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, MIB)  # else scalars come to lie in the holes of large tensors, and the heap grows
    libc.malloc_trim(0)  # else what other tests gave back is used first, and nothing grows


def batches(count: int = 20) -> list[torch.Tensor]:
    return [torch.ones(2, WIDE)] * count


def noted(folder: Path, function: Train, epochs: int = 6, **more: Any) -> str:
    """Run a function; returns what was said about its memory."""
    said: list[str] = []

    def train(trial: Trial) -> None:
        trial.growth.tell = said.append
        function(trial)
        assert said == ([trial.growth.note] if said else []), "once"

    run(train, assignment(folder, epochs=epochs, **more))
    return "".join(said)


class Net(nn.Module):
    """A model whose graph holds twice what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * self.scale).sigmoid() * self.scale).mean(1)
