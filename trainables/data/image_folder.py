"""A folder with one subfolder a class as a data set."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from trainables.data.download import DataError
from trainables.data.source import Decoded, Source, is_deep
from trainables.data.splits import is_hidden, refuse_splits

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_folder(folder: Path, size: int) -> Source:
    """Take the images below each subfolder as one class; its key changes when a file or the size does."""
    found = [(path, place.name) for place in sorted(folder.iterdir()) for path in _images_in(place)]
    files = [(path, name) for path, name in found if not is_hidden(path, folder)]
    if not files:
        raise DataError(f"{folder} must hold one subfolder a class with images in it, but no image was found")
    refuse_splits(folder, {name for _, name in files})
    key = f"{folder.resolve().name}-{size}px-{_fingerprint(folder, files)}"
    return Source(key, partial(_decode, files, size), padding=max(1, size // 8), flip=True)


class ImageFiles:
    """Images that are decoded one by one, since all of them may not fit into memory."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.size = size

    def __getitem__(self, row: int, /) -> np.ndarray:
        """Decode one image as RGB, cut to a square around its centre and scaled: uint8, 3 x size x size."""
        from PIL import Image, ImageOps

        try:
            with Image.open(self.paths[row]) as image:
                if is_deep(image):
                    raise DataError(f"{self.paths[row]} must have 8 bits a channel, but is of mode {image.mode}")
                square = ImageOps.fit(image.convert("RGB"), (self.size, self.size), Image.Resampling.BILINEAR)
        except OSError as error:
            raise DataError(f"{self.paths[row]} must be an image, but cannot be read: {error}") from error
        return np.asarray(square).transpose(2, 0, 1)


def _decode(files: list[tuple[Path, str]], size: int) -> Decoded:
    classes = sorted({name for _, name in files})
    labels = np.array([classes.index(name) for _, name in files])
    return Decoded(ImageFiles([path for path, _ in files], size), labels, classes)


def _images_in(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)


def _fingerprint(folder: Path, files: list[tuple[Path, str]]) -> str:
    """Hash names, lengths and times of change: reading every image at each trial's start would take too long."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path, _ in files:
        stat = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
