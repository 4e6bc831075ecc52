"""Loops whose memory grows, in a process whose memory can be measured."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tuner import Trial
from tuner.trial import growth, randomness
from tuner.trial.channel import Costs
from tuner.trial.growth import Gauge, size_of_machine

from .study import Cut, Heard, assignment

Train = Callable[[Trial], None]

SMALLER = 2
"""By this all is smaller than in a real trial: what is worth a word, and what is kept."""
WIDE = 512 * 1024 // SMALLER
"""Numbers in a row, a MiB."""


@pytest.fixture(autouse=True, scope="module")
def counts_what_is_made_from_here_on() -> Iterator[None]:
    """Freeze what other tests hold, as the zygote does before it forks trials: no count walks over it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def sees_growth_beside_what_other_tests_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PART", 0.0)
    monkeypatch.setattr(growth, "LEAST", growth.LEAST // SMALLER)
    # A process of this test's own would grow by what it is given. This one fills the holes that other tests left
    # first (tests/slot/test_slot_growth.py has real processes, with the real gauge).
    monkeypatch.setattr(growth, "MACHINE", Gauge("machine", handed_out, size_of_machine, 0))
    gc.collect()


HEAP = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Heap(ctypes.Structure):
    """What glibc says of its heaps, in bytes: mallinfo2(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in HEAP]


def handed_out() -> int:
    """Measure what this process was given and has not given back, in bytes."""
    heap = MALLINFO()
    return heap.uordblks + heap.hblkhd


MALLINFO = ctypes.CDLL(None).mallinfo2
MALLINFO.restype = Heap


def batches(count: int = 20) -> list[torch.Tensor]:
    return [torch.ones(2, WIDE)] * count


def noted(folder: Path, function: Train, epochs: int = 6, **more: Any) -> str:
    """Run a function until something is said about its memory, and return that."""
    return told(folder, function, epochs, **more)[0]


def told(folder: Path, function: Train, epochs: int = 6, **more: Any) -> tuple[str, int]:
    """Run a function until something is said about its memory; returns that, and after how many epochs it was."""
    heard = UntilSaid()

    def train(trial: Trial) -> None:
        trial.growth.tell = heard.said.append
        function(trial)

    given = assignment(folder, epochs=epochs, **more)
    randomness.seed_all(given.seed)
    with contextlib.suppress(Cut):
        train(Trial(given, heard))
    return "".join(heard.said), len(heard.epochs)


class UntilSaid(Heard):
    """Cuts the trial off after the epoch in which something was said: what it keeps from there on only costs time."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def report(self, epoch: int, metrics: dict[str, float], checkpoint: str | None, costs: Costs) -> None:
        """Keep what a slot would be told."""
        super().report(epoch, metrics, checkpoint, costs)
        if self.said:
            raise Cut


class Net(nn.Module):
    """A model whose graph holds twice what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * self.scale).sigmoid() * self.scale).mean(1)
