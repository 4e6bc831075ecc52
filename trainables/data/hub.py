"""Data sets of Hugging Face's `datasets`: a folder that `save_to_disk` wrote, or a name on the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.download import DataError, MissingDataError
from trainables.data.source import Decoded, Source, is_deep
from trainables.data.splits import SPLITS, split_name
from trainables.data.text_files import Rows


def is_saved(path: Path) -> bool:
    """Tell whether `save_to_disk` wrote this folder."""
    return (path / "dataset_dict.json").exists() or (path / "state.json").exists()


def texts(data: str, text: str, label: str) -> dict[str, Rows]:
    """Read texts and the names of their classes, by split; what has no label is left out."""
    parts = {}
    for split, rows in _open(data).items():
        for name, key in ((text, "text_column"), (label, "label_column")):
            if name not in rows.column_names:
                has = ", ".join(rows.column_names)
                raise DataError(f"{data}: must have a column {name!r}, but has {has}. Set fixed.{key} to one of these.")
        numbers, names, words = list(rows[label]), _names(rows.features[label]), list(rows[text])
        kept = _labelled(numbers)
        if kept:
            parts[split] = ([words[i] for i in kept], [names(numbers[i]) for i in kept])
    return parts


def image_folder(path: Path, size: int) -> Source:
    """Take a saved set of images: its first column of images, and its first one of class labels."""
    states = sorted(path.rglob("state.json"))
    digest = hashlib.sha256(b"".join(state.read_bytes() for state in states)).hexdigest()[:16]
    return Source(f"{path.resolve().name}-{size}px-{digest}", partial(_decode, path, size), padding=max(1, size // 8),
                  flip=True)  # fmt: skip


class Pictures:
    """Images of some splits, one after the other; each is decoded when it is asked for."""

    def __init__(self, parts: list[Any], column: str, size: int) -> None:
        self.parts, self.column, self.size = parts, column, size
        self.is_grey = parts[0][0][column].mode == "L"

    def __getitem__(self, row: int, /) -> np.ndarray:
        """Decode one image, cut to a square around its centre and scaled: uint8, channels x size x size."""
        from PIL import Image, ImageOps

        for part in self.parts:
            if row < len(part):
                image = part[int(row)][self.column]
                break
            row -= len(part)
        if is_deep(image) or (self.is_grey and image.mode != "L"):  # else its colours would be lost
            raise DataError(
                f"the images of {self.column!r} must have 8 bits a channel, and be all grey or none, but one is of "
                f"mode {image.mode}. Make them alike: cast_column({self.column!r}, Image(mode='RGB')), and save again."
            )
        image = image.convert("L" if self.is_grey else "RGB")
        pixels = np.asarray(ImageOps.fit(image, (self.size, self.size), Image.Resampling.BILINEAR))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _decode(path: Path, size: int) -> Decoded:
    from datasets import ClassLabel, Image

    found = _open(str(path))
    features: Mapping[str, Any] = next(found[split] for split in SPLITS if split in found).features
    image = next((name for name, kind in features.items() if isinstance(kind, Image)), None)
    label = next((name for name, kind in features.items() if isinstance(kind, ClassLabel)), None)
    if image is None or label is None:
        raise DataError(
            f"{path}: must have a column of Image and one of ClassLabel, but has {dict(features)}. "
            f"Name them by cast_column, and save it again."
        )
    kept = {split: _labelled(rows[label]) for split, rows in found.items()}
    found = {split: rows.select(kept[split]) if len(kept[split]) < len(rows) else rows
             for split, rows in found.items() if kept[split]}  # fmt: skip
    parts = [found[split] for split in SPLITS if split in found]
    labels = np.concatenate([np.asarray(part[label]) for part in parts])
    end = len(labels) - len(found.get("test", ()))
    first_val = end - len(found["val"]) if "val" in found else None
    first_test = end if "test" in found else None
    return Decoded(Pictures(parts, image, size), labels, features[label].names, first_test, first_val)


def _open(data: str) -> dict[str, Any]:
    """Open train, val and test of a saved folder, or of the hub; a set without splits is all train."""
    datasets = _library()
    path = Path(data).expanduser()
    try:
        found = datasets.load_from_disk(str(path)) if is_saved(path) else datasets.load_dataset(data)
    except Exception as error:  # no such name, no network, a script that is refused: each has types of its own
        raise MissingDataError(
            f"data must be debian-sections, a .csv, a folder (one that save_to_disk wrote, or with one subfolder a "
            f"class), or a name on the hub, but got {data!r}: {str(error).splitlines()[0]} Where there is a network, "
            f"load_dataset({data!r}).save_to_disk(FOLDER) makes a folder that can be given here."
        ) from error
    parts = dict(found.items()) if isinstance(found, datasets.DatasetDict) else {"train": found}
    _check_names(data, list(parts))
    return {split_name(name): rows for name, rows in parts.items() if split_name(name) in SPLITS}


def _check_names(data: str, names: list[str]) -> None:
    """Refuse two splits for one purpose: `validation` and `dev`, or MNLI's `validation_matched` and `_mismatched`."""
    known = [split_name(name) for name in names]
    odd = [name for name in known if name not in SPLITS and name.startswith(("val", "dev", "test"))]
    if odd or any(known.count(split) > 1 for split in SPLITS):
        raise DataError(
            f"{data}: must have one split each for train, validation and test, but has {', '.join(names)}. Save those "
            f"that you mean: DatasetDict({{'train': ..., 'validation': ...}}).save_to_disk(FOLDER)."
        )


def _library() -> Any:
    """Import `datasets` so that it starts no thread: trials are forked from the process that calls this."""
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingDataError(
            "data of Hugging Face's needs their library. pip install -c constraints.txt -e '.[hf]'"
        ) from error
    datasets.disable_progress_bars()
    datasets.utils.tqdm.monitor_interval = 0  # else a bar has a thread that watches it, also where it is not shown
    return datasets


def _labelled(labels: Iterable[Any]) -> list[int]:
    """List the rows that have a label; those without one, as GLUE's tests, have -1 or nothing."""
    return [i for i, label in enumerate(labels) if label not in (None, -1, "")]


def _names(feature: Any) -> Any:
    """Return the function that names a class."""
    return feature.int2str if hasattr(feature, "int2str") else str
