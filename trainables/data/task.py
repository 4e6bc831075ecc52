"""What a pretrained model is fine-tuned on: texts as its tokens, or images as it knows them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset

from trainables.data import Data, load, pretrained
from trainables.data.download import DataError
from trainables.data.texts import Texts, read_texts
from trainables.data.tokens import TokenSplit, tokenize

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Task:
    """The splits, the classes, and `ready`, which makes of a batch on some device what the model takes."""

    train: Dataset[Any]
    val: Dataset[Any]
    classes: list[str]
    test: Callable[[], Dataset[Any]]
    ready: Callable[[Any, torch.device], Inputs]


@functools.cache
def read_task(
    model: str, data: str, text_column: str, label_column: str, train_size: int | None, max_length: int
) -> Task:
    """Read the data for a model: what kind of data hangs on what it takes. Once in a process, and its forks."""
    if train_size is not None and train_size < 1:
        raise DataError(f"train_size must be at least 1, but got {train_size}")
    if pretrained.takes_text(model):
        return _text_task(read_texts(data, text=text_column, label=label_column), model, train_size, max_length)
    size = pretrained.config(model).image_size if hasattr(pretrained.config(model), "image_size") else 32
    return _image_task(load(data, size=size, train_size=train_size), model, size)


def _text_task(texts: Texts, model: str, train_size: int | None, max_length: int) -> Task:
    tokenizer = pretrained.tokenizer(model)

    def tokens_of(lines: list[str]) -> list[list[int]]:
        return tokenizer(lines, truncation=True, max_length=max_length)["input_ids"]

    def split(name: str, limit: int | None = None) -> TokenSplit:
        rows, labels = texts.texts[name][:limit], texts.labels[name][:limit]
        made = tokenize(rows, labels, tokens_of, tokenizer.pad_token_id or 0)
        return made if name == "train" else made.by_length()

    def ready(inputs: Inputs, device: torch.device) -> Inputs:
        return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}

    return Task(split("train", train_size), split("val"), texts.classes, functools.partial(split, "test"), ready)


def _image_task(data: Data, model: str, size: int) -> Task:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in pretrained.image_statistics(model))
    channels = pretrained.config(model).num_channels

    def ready(images: torch.Tensor, device: torch.device) -> Inputs:
        pixels = images.to(device, non_blocking=True).float() / 255
        if pixels.shape[1] != channels:  # grey for each channel, or their mean for one
            pixels = pixels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if pixels.shape[-2:] != (size, size):
            pixels = functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)
        return {"pixel_values": (pixels - mean.to(device)) / std.to(device)}

    return Task(data.train, data.val, data.classes, data.test, ready)
