"""Data sets for the trainables: decoded once a node, split by a fixed seed, shared by memory map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from trainables.data import cache, catalog
from trainables.data.augment import crop_and_flip
from trainables.data.download import DataError, MissingDataError
from trainables.data.loading import Batch, Split, loader

__all__ = ["Batch", "Data", "DataError", "MissingDataError", "Normalize", "Split", "load", "loader"]


class Normalize:
    """Scales uint8 images to float32 with mean 0 and variance 1 in each channel of the training split."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean, self.std = mean, std

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Scale images of shape (N, channels, height, width), on their own device."""
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)

    def state_dict(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each channel, of pixels from 0 to 1."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        """Take those of another."""
        self.mean, self.std = state["mean"], state["std"]


@dataclass(frozen=True)
class Data:
    """A data set: images are uint8 of shape (N, channels, height, width), labels int64 of shape (N,)."""

    train: Split
    val: Split
    classes: list[str]
    mean: list[float]
    std: list[float]
    padding: int
    flip: bool
    _open: Callable[[str], Split]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tell the shape of one image: channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def test(self) -> Split:
        """Open the test split; a method, so that nothing of it is read before the best trial asks for it."""
        return self._open("test")

    @cached_property
    def normalize(self) -> Normalize:
        """Give what scales images as all trials see them; to be tracked, since the best model needs it."""
        return Normalize(self.mean, self.std)

    def augment(self, images: torch.Tensor) -> torch.Tensor:
        """Crop and flip at random as suits this set; digits, where a flip changes the meaning, stay as they are."""
        return crop_and_flip(images, padding=self.padding, flip=self.flip)


def load(
    dataset: str,
    *,
    folder: str | Path | None = None,
    size: int = 32,
    train_size: int | None = None,
    split_seed: int = 0,
) -> Data:
    """Load a data set by its name (`digits`, `fashion-mnist`, `cifar10`) or by the path of an image folder.

    `folder` is where downloads lie (else TUNER_DATA, else ./data); `size` the pixels of an image folder's
    images; `train_size` keeps so many training images, the classes in proportion; `split_seed` fixes the
    splits and is no trial's seed: every trial is judged on the same images.
    """
    source = catalog.find(dataset, folder=folder, size=size)
    stored = cache.store(source, split_seed)
    meta = cache.read_meta(stored)

    def split(name: str, limit: int | None = None) -> Split:
        images, labels = cache.open_split(stored, name)
        return Split(images[:limit], labels[:limit])

    return Data(split("train", _checked(train_size)), split("val"), **_known(meta), _open=split)


def _checked(train_size: int | None) -> int | None:
    if train_size is not None and train_size < 1:
        raise DataError(f"train_size must be at least 1, but got {train_size}")
    return train_size


def _known(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: meta[name] for name in ("classes", "mean", "std", "padding", "flip")}
