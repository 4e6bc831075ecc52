"""Texts, images and histograms that a trial keeps: files in its folder, named by epoch."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tuner.errors import UserError
from tuner.storage import write_whole

if TYPE_CHECKING:
    import numpy as np


BINS = 64
LONGEST = 200
"""Bytes of a name, of the 255 that file systems allow: there is a suffix, and one for what is being written."""
SUFFIX = ".histogram.json"


def write(folder: Path, name: str, epoch: int, what: Any, histogram: bool = False) -> None:
    """Write a text, or an image of shape (H, W), (H, W, 3) or (3, H, W), floats in 0–1 or integers in 0–255.

    As a histogram any array or tensor of numbers, of which the counts in 64 bins are kept, or in one around all values
    where 64 do not fit: floats have no edges between values that lie so close, or so far apart.
    """
    stem = folder / f"e{epoch:04d}_{quote(name, safe='')}"
    if len(stem.name) > LONGEST:
        what = f"must have a name that a file can have, but got one of {len(name)} letters"
        raise UserError(f"trial.log({name[:20]!r}…): {what}. Shorten it.")
    if histogram:
        write_whole(stem.with_name(stem.name + SUFFIX), json.dumps(_counts(name, what)), sync=False)
        return
    if isinstance(what, str):
        write_whole(stem.with_name(stem.name + ".txt"), what, sync=False)
        return
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_pixels(name, what)).save(file, "png")
    write_whole(stem.with_name(stem.name + ".png"), file.getvalue(), sync=False)


def _counts(name: str, what: Any) -> dict[str, Any]:
    """Count values in bins of equal width; those that are not finite are counted apart."""
    import numpy as np

    array = _array(what)
    if array.dtype.kind not in "fiub":
        raise UserError(f"trial.log({name!r}): must be numbers for a histogram, but got an array of {array.dtype}.")
    values = array.astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"count": finite.size, "not_finite": values.size - finite.size}
    if not finite.size:
        return found
    with np.errstate(all="ignore"):  # where the values are so large that sums overflow
        counts, edges = _binned(finite)
        sums = {"sum": _bounded(finite.sum()), "sum_of_squares": _bounded((finite**2).sum())}
    bins = {"edges": edges.tolist(), "counts": counts.tolist()}
    return {**found, "min": float(finite.min()), "max": float(finite.max()), **sums, **bins}


def _binned(values: np.ndarray[Any, np.dtype[Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Count finite values in bins, and give the edges."""
    import numpy as np

    try:
        counts, edges = np.histogram(values, bins=BINS)
        if np.isfinite(edges).all() and (np.diff(edges) > 0).all():
            return counts, edges
    except ValueError:  # numpy makes no bins of no width, nor any of which the width overflows
        pass
    edges = np.array([np.nextafter(values.min(), -np.inf), np.nextafter(values.max(), np.inf)])
    most = np.finfo(np.float64).max
    return np.array([values.size]), edges.clip(-most, most)


def _bounded(total: Any) -> float:
    """Give the largest float in place of an infinity, which JSON does not have; 0 where several cancelled out."""
    import numpy as np

    return float(np.nan_to_num(total))


def _pixels(name: str, what: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import numpy as np

    array = _array(what)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        what = f"must be a text or an image, but got an array of shape {array.shape}"
        raise UserError(f"trial.log({name!r}): {what}. Of any shape: trial.log({name!r}, ..., histogram=True).")
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
