"""Which data sets there are, by name or by path."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from trainables.data import hub, official
from trainables.data.download import DataError, data_folder
from trainables.data.image_folder import image_folder
from trainables.data.source import Decoded, Source


def find(dataset: str, *, folder: str | Path | None, size: int) -> Source:
    """Find a set by its name, or by the path of a folder: one subfolder a class, or a saved set of Hugging Face's."""
    if dataset in SETS:
        return SETS[dataset](data_folder(folder))
    path = Path(dataset).expanduser()
    if not path.is_dir():
        raise DataError(_unknown(dataset))
    return hub.image_folder(path, size) if hub.is_saved(path) else image_folder(path, size)


def _unknown(dataset: str) -> str:
    near = difflib.get_close_matches(dataset, SETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    known = ", ".join(SETS)
    return f"dataset must be {known} or a folder with one subfolder a class, but got {dataset!r}.{hint}"


def _digits() -> Decoded:
    """Read the digits of the UCI repository: 1,797 images of 8 x 8 with values 0 to 16, part of scikit-learn."""
    from sklearn.datasets import load_digits  # takes a second: only where the set is not in the cache yet

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Decoded(images[:, None], digits.target, [str(name) for name in digits.target_names])


SETS: dict[str, Callable[[Path], Source]] = {
    "digits": lambda data: Source("digits", _digits),
    "fashion-mnist": lambda data: Source("fashion-mnist", partial(official.fashion_mnist, data), padding=2, flip=True),
    "cifar10": lambda data: Source("cifar10", partial(official.cifar10, data), padding=4, flip=True),
}
"""The sets that have a name; each is told the folder of downloads."""
