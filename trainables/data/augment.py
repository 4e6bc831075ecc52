"""Random crops and flips of whole batches, from torch's own random state, which checkpoints keep."""

from __future__ import annotations

import torch
from torch.nn import functional


def crop_and_flip(images: torch.Tensor, *, padding: int, flip: bool) -> torch.Tensor:
    """Shift each image (N x C x H x W) by up to `padding` pixels and mirror every second one.

    He et al. 2016, section 4.2. The numbers are drawn on the CPU, so that a GPU sees the same ones.
    """
    if not padding and not flip:
        return images
    count, _, height, width = images.shape
    rows = torch.arange(height) + torch.randint(2 * padding + 1, (count, 1))
    columns = torch.arange(width).expand(count, width)
    if flip:
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    columns = columns + torch.randint(2 * padding + 1, (count, 1))
    return _pick(functional.pad(images, (padding,) * 4), rows, columns)


def _pick(padded: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Take rows (N x H) and columns (N x W) of each padded image."""
    rows, columns = rows.to(padded.device), columns.to(padded.device)
    each = torch.arange(len(padded), device=padded.device)[:, None, None]
    picked = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()
