"""What a trial's process takes of its GPU: of a real one, or of one that is simulated on the CPU.

With `TUNER_SIMULATED_GPU=2x8GiB` in the environment this machine counts as one with two GPUs of 8 GiB: trials run on
the CPU, every tensor that they make counts, and beyond their share they get torch's `OutOfMemoryError`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from tuner.errors import UserError

SIMULATED = "TUNER_SIMULATED_GPU"
UNITS = {"MiB": 2**20, "GiB": 2**30}
QUERY = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


class Meter(Protocol):
    """Holds a process to its share of a GPU, and measures what it takes."""

    def held(self) -> AbstractContextManager[None]:
        """Hold what runs within to its share."""
        ...

    def aside(self) -> AbstractContextManager[None]:
        """Leave out what runs within: it happens on the CPU, whatever the trial trains on."""
        ...

    def peak(self) -> int:
        """Tell the most memory that tensors have taken so far, bytes; 0 where no GPU was used."""
        ...

    def context(self) -> int:
        """Tell what the process takes beside its tensors, bytes; right only where it is alone on the GPU."""
        ...


class Cuda:
    """Meters what torch's allocator reserves on the GPUs of this process."""

    def __init__(self, gpus: float, context: int = 0) -> None:
        self.gpus, self.beside = gpus, context

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the allocator take no more than the share, less what the process takes beside it."""
        hold_to_share(self.gpus, self.beside)
        yield

    def aside(self) -> AbstractContextManager[None]:
        """Do nothing: the allocator knows what is on a GPU."""
        return contextlib.nullcontext()

    def peak(self) -> int:
        """Tell the most that was reserved on one of its GPUs."""
        if not _uses_cuda():
            return 0
        import torch

        return max(torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count()))

    def context(self) -> int:
        """Tell what is in use on the GPU and not reserved: the context, and kernels that were loaded."""
        if not _uses_cuda():
            return 0
        import torch

        free, total = torch.cuda.mem_get_info()
        return max(0, total - free - torch.cuda.memory_reserved())


def hold_to_share(gpus: float, context: int = 0) -> None:
    """Let torch take no more memory of its GPU than a share of it, less `context` bytes, once it uses the GPU."""
    if not 0 < gpus < 1 or "torch" not in sys.modules:
        return
    import torch

    def cap() -> None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.0, gpus - context / total))

    # Called at once it would begin to use the GPU, which costs a context and some hundred MiB.
    torch.cuda._lazy_call(cap)  # type: ignore[no-untyped-call]


def meter(gpus: float, context: int = 0) -> Meter:
    """Make the meter of this process, which has so many GPUs."""
    if gpus and os.environ.get(SIMULATED):
        from tuner.trial.simulated import SimulatedGpu

        return SimulatedGpu(int(min(gpus, 1) * min(cards())) - context)
    return Cuda(gpus, context)


def cards() -> list[int]:
    """List the memory of this machine's GPUs, bytes, without starting CUDA; empty where nothing tells."""
    if text := os.environ.get(SIMULATED):
        return _simulated(text)
    try:
        told = subprocess.run(QUERY, capture_output=True, text=True, timeout=30, check=True).stdout
        return [int(line) * 2**20 for line in told.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _simulated(text: str) -> list[int]:
    match = re.fullmatch(r"(?:(\d+)x)?(\d+(?:\.\d+)?)(MiB|GiB)", text.strip())
    if match is None:
        raise UserError(f"{SIMULATED}: must be such as 8GiB or 2x512MiB, but got {text!r}. Mend it, or unset it.")
    return [int(float(match[2]) * UNITS[match[3]])] * int(match[1] or 1)


def _uses_cuda() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
