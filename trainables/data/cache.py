"""Decoded data sets on disk: each node decodes a set once, and all its trials map the same pages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap

from trainables.data.source import Images, Source
from trainables.data.splits import split

VERSION = 2
"""Part of each name in the cache: raise it when a source, the split or the format of the files changes."""


def root() -> Path:
    """Find the folder of the cache: TUNER_CACHE, else the user's own, else one under the temp folder."""
    if given := os.environ.get("TUNER_CACHE"):
        return _made(Path(given).expanduser())
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return _made(Path(home) / "tuner")
    except (OSError, RuntimeError):  # no home, or one that cannot be written: containers, services
        return _made(Path(tempfile.gettempdir()) / f"tuner-cache-{os.getuid()}")


def store(source: Source, split_seed: int) -> Path:
    """Decode and split a set unless some process of this node did; return its folder in the cache."""
    place = root() / f"{source.key}-split{split_seed}-v{VERSION}"
    if place.exists():
        return place
    with _locked(place.with_name(place.name + ".lock")):
        if not place.exists():
            _write(source, split_seed, place)
    return place


def read_meta(place: Path) -> dict[str, Any]:
    """Read what is known of a stored set beside its arrays: names of the classes, mean, std."""
    meta: dict[str, Any] = json.loads((place / "meta.json").read_text())
    return meta


def open_split(place: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Map the images and labels of one split.

    Mode `c` (copy on write) shares the pages as `r` does; but a write into the tensor, which torch cannot
    forbid, changes this process's copy, where with `r` it would be a segfault.
    """
    images = np.load(place / f"{name}_images.npy", mmap_mode="c")
    labels = np.load(place / f"{name}_labels.npy", mmap_mode="c")
    return torch.from_numpy(images), torch.from_numpy(labels)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process in at a time; the system frees the lock of one that dies."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may decode at once; the rename keeps one result
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(source: Source, split_seed: int, place: Path) -> None:
    """Write under another name and rename, so that a set is there whole or not at all."""
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        _write_arrays(source, split_seed, draft)
        draft.rename(place)
    except OSError:
        if not place.exists():  # else another process was faster, and its result is the same
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_arrays(source: Source, split_seed: int, folder: Path) -> None:
    decoded = source.decode()
    firsts = {"first_test": decoded.first_test, "first_val": decoded.first_val}
    for name, rows in split(decoded.labels, seed=split_seed, **firsts).items():
        np.save(folder / f"{name}_labels.npy", decoded.labels[rows].astype(np.int64))
        _write_images(decoded.images, rows, folder / f"{name}_images.npy")
    mean, std = _statistics(np.load(folder / "train_images.npy", mmap_mode="r"))
    meta = {"classes": decoded.classes, "mean": mean, "std": std, "padding": source.padding, "flip": source.flip}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


def _write_images(images: Images, rows: np.ndarray, path: Path) -> None:
    """Write image by image: a folder of images need not fit into memory."""
    out = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), *images[0].shape))
    for i, row in enumerate(rows):
        out[i] = images[row]
    out.flush()


def _statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each channel, on a scale from 0 to 1, from counts of the 256 values."""
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[1], 256))
    for start in range(0, len(images), 1024):
        for channel, pixels in enumerate(images[start : start + 1024].swapaxes(0, 1)):
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 1e-12))
    return mean.tolist(), std.tolist()
