"""Texts and images that a trial keeps: files in its folder, named by epoch."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import UserError
from tuner.storage import write_whole

if TYPE_CHECKING:
    import numpy as np


def write(folder: Path, name: str, epoch: int, what: Any) -> None:
    """Write a text, or an image of shape (H, W), (H, W, 3) or (3, H, W), floats in 0–1 or integers in 0–255."""
    stem = folder / f"e{epoch:04d}_{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"
    if isinstance(what, str):
        write_whole(stem.with_name(stem.name + ".txt"), what, sync=False)
        return
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_pixels(name, what)).save(file, "png")
    write_whole(stem.with_name(stem.name + ".png"), file.getvalue(), sync=False)


def _pixels(name: str, what: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import numpy as np

    array = _array(what)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise UserError(f"trial.log({name!r}): must be a text or an image, but got an array of shape {array.shape}.")
    if array.dtype.kind not in "fiub":
        raise UserError(f"trial.log({name!r}): must be a text or an image, but got an array of {array.dtype}.")
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array.clip(0, 255).astype(np.uint8))
    shares = np.nan_to_num(array.astype(np.float32)).clip(0, 1)
    return np.ascontiguousarray((shares * 255).round().astype(np.uint8))


def _array(what: Any) -> np.ndarray[Any, np.dtype[Any]]:
    import numpy as np

    if hasattr(what, "detach"):
        what = what.detach().cpu()
        what = what.float() if what.is_floating_point() else what  # numpy has no bfloat16
    return np.asarray(what)
