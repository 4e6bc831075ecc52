"""What the cache needs to know of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def is_deep(image: Image.Image) -> bool:
    """Tell whether an image has more than 8 bits a channel: its values would be cut off at 255."""
    return image.mode[0] in "IF"


class Images(Protocol):
    """Images by row: uint8 arrays of shape (channels, height, width)."""

    def __getitem__(self, row: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Decoded:
    """A decoded set; rows from `first_test` on are its own test images, those from `first_val` on, before them, its own
    validation images; None if it has none.
    """

    images: Images
    labels: np.ndarray
    classes: list[str]
    first_test: int | None = None
    first_val: int | None = None


@dataclass(frozen=True)
class Source:
    """A set that can be decoded, its name in the cache, and how its images may be augmented."""

    key: str
    decode: Callable[[], Decoded]
    padding: int = 0
    flip: bool = False
