"""What a pretrained model is fine-tuned on: texts as its tokens, or images as it knows them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from trainables.data import Data, catalog, load, pretrained
from trainables.data.download import DataError
from trainables.data.texts import Texts, read_texts
from trainables.data.tokens import TokenSplit, token_split

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Task:
    """The splits, the classes, and what makes of raw texts or images what the model takes.

    `encode` makes a batch of raw ones, `ready` brings a batch to a device as the model takes it; calling the task does
    both. `example` is what two samples look like, at their longest. It can be tracked: a checkpoint then holds the
    classes and `prepares`, which is what it takes to prepare inputs without this code.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    classes: list[str]
    test: Callable[[], Dataset[Any]]
    encode: Callable[[Any], Any]
    ready: Callable[[Any, torch.device], Inputs]
    example: Callable[[], Inputs]
    prepares: dict[str, Any]

    def __call__(self, raw: Any, device: torch.device | str = "cpu") -> Inputs:
        """Make of a list of texts, or of uint8 images (N x C x H x W), what the model takes."""
        return self.ready(self.encode(raw), torch.device(device))

    def state_dict(self) -> dict[str, Any]:
        """Return the classes, in the order of the logits, and what prepares inputs."""
        return {"classes": self.classes, **self.prepares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare: weights that were trained for other classes, or other inputs, are of no use. Raises DataError."""
        if state["classes"] != self.classes:
            raise DataError(
                f"data must have the classes {state['classes']} of the checkpoint, but has {self.classes}. "
                f"Give the data that it was trained on."
            )
        for name in ("mean", "std", "tokenizer"):
            own, theirs = self.prepares.get(name), state.get(name)
            if theirs is None or own == theirs or (name == "tokenizer" and _same_tokens(own, theirs)):
                continue
            values = "but has another" if name == "tokenizer" else f"{theirs}, but has {own}"
            raise DataError(
                f"model must have the {name} of the checkpoint, {values}. Give the folder that it was trained from."
            )


@functools.cache
def read_task(
    model: str, data: str, text_column: str, label_column: str, train_size: int | None, max_length: int
) -> Task:
    """Read the data for a model: what kind of data hangs on what it takes. Once in a process, and its forks."""
    if train_size is not None and train_size < 1:
        raise DataError(f"train_size must be at least 1, but got {train_size}")
    if pretrained.takes_text(model):
        if data in catalog.SETS:
            raise DataError(
                f"data must be texts, since this model takes texts, but got {data!r}, a set of images. "
                f"Give a .csv, a folder or a name on the hub."
            )
        return _text_task(read_texts(data, text=text_column, label=label_column), model, train_size, max_length)
    size = pretrained.config(model).image_size if hasattr(pretrained.config(model), "image_size") else 32
    return _image_task(load(data, size=size, train_size=train_size), model, size)


def _text_task(texts: Texts, model: str, train_size: int | None, max_length: int) -> Task:
    tokenizer = pretrained.tokenizer(model)

    def tokens(lines: list[str], labels: np.ndarray) -> TokenSplit:
        rows = tokenizer(lines, truncation=True, max_length=max_length)["input_ids"]
        return token_split(rows, labels, tokenizer.pad_token_id or 0)

    def split(name: str, limit: int | None = None) -> TokenSplit:
        made = tokens(texts.texts[name][:limit], texts.labels[name][:limit])
        return made if name == "train" else made.by_length()

    def encode(lines: list[str]) -> Inputs:
        return tokens(lines, np.zeros(len(lines), np.int64)).__getitems__(list(range(len(lines))))[0]

    def ready(inputs: Inputs, device: torch.device) -> Inputs:
        return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}

    def example() -> Inputs:
        short = encode(texts.texts["val"][:2])
        fill = {"input_ids": tokenizer.pad_token_id or 0}
        return {
            name: functional.pad(rows, (0, max_length - rows.shape[1]), value=fill.get(name, 0))
            for name, rows in short.items()
        }

    test = functools.partial(split, "test")
    train, val = split("train", train_size), split("val")
    prepares = {"max_length": max_length, "padding": tokenizer.pad_token_id or 0}
    if tokenizer.is_fast:  # others are code; its text says that it cuts, since it has done so above
        prepares["tokenizer"] = tokenizer.backend_tokenizer.to_str()
    return Task(train, val, texts.classes, test, encode, ready, example, prepares)


def _image_task(data: Data, model: str, size: int) -> Task:
    statistics = pretrained.image_statistics(model)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in statistics)
    channels = pretrained.config(model).num_channels

    def ready(images: torch.Tensor, device: torch.device) -> Inputs:
        pixels = images.to(device, non_blocking=True).float() / 255
        if pixels.shape[1] != channels:  # grey for each channel, or their mean for one
            pixels = pixels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if pixels.shape[-2:] != (size, size):
            pixels = functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)
        return {"pixel_values": (pixels - mean.to(device)) / std.to(device)}

    def example() -> Inputs:
        return ready(data.val.images[:2], torch.device("cpu"))

    prepares = {"mean": statistics[0], "std": statistics[1], "size": size, "channels": channels}
    return Task(data.train, data.val, data.classes, data.test, lambda images: images, ready, example, prepares)


def _same_tokens(own: str | None, theirs: str) -> bool:
    """Tell whether two tokenizers are the same but for where they cut, whatever version has written them."""
    if own is None:
        return False
    from tokenizers import Tokenizer

    both = [Tokenizer.from_str(text) for text in (own, theirs)]
    for one in both:
        one.no_truncation()
    return both[0].to_str() == both[1].to_str()
