"""What a trial computes in: fp32, bf16 or fp16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tuner.errors import UserError

if TYPE_CHECKING:
    import torch


class Precision:
    """The YAML's `precision`, and whether the function makes use of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._unused = name != "fp32"

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """Compute in it, on a type of device."""
        import torch

        self._unused = False
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        return torch.autocast(device, dtype=dtype) if dtype else nullcontext()

    def scaler(self, device: str, tracked: Mapping[str, Any], track: Callable[..., None]) -> torch.amp.GradScaler:
        """Give the scaler that is tracked, or make one; only that of fp16 does anything, and so is tracked.

        Raises UserError where what is tracked as scaler is none.
        """
        import torch

        if "scaler" not in tracked and self.name != "fp16":
            return torch.amp.GradScaler(device, enabled=False)
        if "scaler" not in tracked:
            track(scaler=torch.amp.GradScaler(device))
        if not isinstance(made := tracked["scaler"], torch.amp.GradScaler):
            raise UserError(f"trial.track(scaler=...): must be a GradScaler, but got {type(made).__name__}.")
        return made

    def tell(self) -> None:
        """Print, once, that an epoch was trained in which it made no difference."""
        if self._unused:
            print(f"note: precision: {self.name} changes nothing, for the function does not use trial.autocast()")
        self._unused = False
