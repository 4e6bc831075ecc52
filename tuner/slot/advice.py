"""What an error most often means, in a line: where torch's own text does not say it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

ASSERT = "device-side assert"
SHAPES = ("shapes cannot be multiplied", "size of tensor", "expected input", "to have", "must match")
"""Parts of what torch says of tensors that do not fit."""

TIMEOUTS = (("gloo", "timed out waiting"), ("nccl", "timeout"), ("nccl", "timing out"))
"""Parts of what torch.distributed says where a rank has waited for another in vain."""


def advice(error: BaseException) -> str:
    """Explain an error of torch's; empty where there is nothing to add."""
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return ""
    text = str(error)
    if ASSERT in text:
        return (
            "most often a label or an index is out of range: more classes in the data than in the last layer, say; "
            "CUDA_LAUNCH_BLOCKING=1, or the same on the CPU, shows the line"
        )
    if any(all(part in text.lower() for part in parts) for parts in TIMEOUTS):
        return (
            "most often another rank made fewer steps; every rank needs the same number of batches: "
            "drop_last, or DistributedDataParallel's join"
        )
    if any(part in text for part in SHAPES) and (layers := list(_layers(error.__traceback__))):
        return f"in the layer {_name(layers)}: what comes in does not fit it"
    return ""


def _layers(traceback: TracebackType | None) -> Iterator[nn.Module]:
    """Walk over the models and layers that were at work, the outermost first."""
    import torch

    while traceback is not None:
        layer = traceback.tb_frame.f_locals.get("self")
        if isinstance(layer, torch.nn.Module):
            yield layer
        traceback = traceback.tb_next


def _name(layers: list[nn.Module]) -> str:
    """Name the innermost layer as the outermost model does, and say what it is."""
    model, layer = layers[0], layers[-1]
    names = {id(part): name for name, part in model.named_modules()}
    return f"{names.get(id(layer)) or type(model).__name__} ({str(layer).splitlines()[0]})"
