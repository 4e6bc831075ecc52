"""A GPU that is simulated on the CPU: it counts the memory of every tensor that torch makes, and runs out of it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter

BLOCK = 512
"""Bytes; torch's allocator rounds up to them, too."""


class SimulatedGpu(TorchDispatchMode):
    """So many bytes of memory for the tensors of one process."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = limit
        self.used = self.most = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Count what is made within, and raise torch.OutOfMemoryError where it is more than there is."""
        with self:
            yield

    def aside(self) -> AbstractContextManager[None]:
        """Count nothing that is made within."""
        return _disable_current_modes()

    def peak(self) -> int:
        """Tell the most bytes that were in use at once."""
        return self.most

    def context(self) -> int:
        """Tell what a process takes beside its tensors: nothing is simulated here."""
        return 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what is asked for, then count the memory that is new."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = -(-int(storage.nbytes()) // BLOCK) * BLOCK
        self._known[storage] = size
        weakref.finalize(storage, self._free, size)
        self.used += size
        if self.used > self.limit:
            raise torch.OutOfMemoryError(
                f"simulated GPU out of memory. Tried to allocate {size / 2**20:.2f} MiB; "
                f"{(self.used - size) / 2**20:.2f} of {self.limit / 2**20:.2f} MiB are in use."
            )
        self.most = max(self.most, self.used)

    def _free(self, size: int) -> None:
        self.used -= size
