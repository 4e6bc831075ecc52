"""Texts and images that a trial keeps: files in its folder, named by epoch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any


from tuner.errors import UserError
from tuner.storage import write_whole

if TYPE_CHECKING:
    import numpy as np


def write(folder: Path, name: str, epoch: int, what: Any) -> None:
    """Write `what` as text, or as an image of shape (H, W), (H, W, 3) or (3, H, W), floats in 0–1 or bytes."""
    stem = folder / f"e{epoch:04d}_{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"
    if isinstance(what, str):
        write_whole(stem.with_name(stem.name + ".txt"), what, sync=False)
        return
    from PIL import Image

    pixels = _pixels(name, what)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(stem.with_name(stem.name + ".png"))


def _pixels(name: str, what: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import numpy as np

    if hasattr(what, "detach"):
        what = what.detach().cpu()
    array = np.asarray(what)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise UserError(f"trial.log({name!r}): must be a text or an image, but got an array of shape {array.shape}.")
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(array)
