"""What a trial computes in: fp32, bf16 or fp16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from tuner.errors import UserError

if TYPE_CHECKING:
    import torch


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Compute in a precision, on a type of device."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device, dtype=dtype) if dtype else nullcontext()


def scaler(precision: str, device: str) -> torch.amp.GradScaler:
    """Make the scaler of gradients that fp16 needs; it does nothing otherwise."""
    import torch

    return torch.amp.GradScaler(device, enabled=precision == "fp16")


def checked(made: Any) -> torch.amp.GradScaler:
    """Refuse what is tracked as scaler and is none; raises UserError."""
    import torch

    if not isinstance(made, torch.amp.GradScaler):
        raise UserError(f"trial.track(scaler=...): must be a GradScaler, but got {type(made).__name__}.")
    return made
