"""Texts as tokens: made once, kept as one array, cut to the longest of each batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

Inputs = dict[str, torch.Tensor]


class TokenSplit(Dataset[tuple[Inputs, torch.Tensor]]):
    """Token numbers (int32, N x longest), how many of each row count, and labels (int64, N)."""

    def __init__(self, ids: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor) -> None:
        self.ids, self.lengths, self.labels = ids, lengths, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Inputs, torch.Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> tuple[Inputs, torch.Tensor]:
        """Fetch a whole batch, as long as its longest text: half of the work where most are short."""
        rows = torch.tensor(indices)
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        mask = torch.arange(longest) < lengths[:, None]
        return {"input_ids": self.ids[rows, :longest].long(), "attention_mask": mask.long()}, self.labels[rows]

    def by_length(self) -> TokenSplit:
        """Put short texts first, for what is only measured: its batches are then hardly longer than their texts."""
        order = torch.argsort(self.lengths, stable=True)
        return TokenSplit(self.ids[order], self.lengths[order], self.labels[order])


def tokenize(
    texts: list[str], labels: np.ndarray, tokens_of: Callable[[list[str]], list[list[int]]], padding: int
) -> TokenSplit:
    """Turn texts into one array of tokens, the rows filled up with `padding`."""
    rows = tokens_of(texts)
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), padding, dtype=torch.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return TokenSplit(ids, lengths, torch.from_numpy(labels))
