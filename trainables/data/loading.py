"""Batches from a split: a real DataLoader, without its cost for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from trainables.data.download import DataError

Batch = tuple[torch.Tensor, torch.Tensor]


class Split(Dataset[Batch]):
    """Images (uint8, N x C x H x W) and labels (int64, N) that are fetched a batch at a time."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Fetch a whole batch: one indexing, where 64 samples and a stack cost more than the small model's step."""
        rows = torch.tensor(indices)
        return self.images[rows], self.labels[rows]


def loader(
    split: Split,
    batch_size: int,
    *,
    shuffle: bool,
    workers: int = 0,
    sampler: str | Sampler[int] | None = None,
    collate: Callable[[Batch], Any] | None = None,
    pin_memory: bool = False,
    seed: int = 0,
) -> DataLoader[Any]:
    """Make a DataLoader whose order hangs on `seed` alone (its `generator` holds the state).

    `sampler` is `balanced` (classes equally often) or a Sampler of one's own; `collate` gets the batch of
    images and labels and may return anything. When training, a last batch that is not full is left out:
    batch norm fails on a single image.
    """
    generator = torch.Generator().manual_seed(seed)
    training = shuffle or sampler is not None
    return DataLoader(
        split,
        batch_size=batch_size,
        shuffle=shuffle and sampler is None,
        sampler=_sampler(split, sampler, generator),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate or _as_it_is,
        pin_memory=pin_memory,
        drop_last=training and len(split) > batch_size,
        generator=generator,
    )


def _sampler(
    split: Split, sampler: str | Sampler[int] | None, generator: torch.Generator
) -> Sampler[int] | Iterable[int] | None:
    if sampler == "balanced":
        weights = 1.0 / torch.bincount(split.labels)[split.labels].double()
        return WeightedRandomSampler(weights.tolist(), len(split), generator=generator)
    if isinstance(sampler, str):
        raise DataError(f"sampler must be balanced, null or a torch Sampler, but got {sampler!r}")
    return sampler


def _as_it_is(batch: Batch) -> Batch:
    return batch
