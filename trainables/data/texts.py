"""Labelled texts: a CSV, a folder, a data set of Hugging Face's, or the one that comes with this project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data import debian_sections, hub
from trainables.data.download import DataError
from trainables.data.splits import SPLITS, stratified_order
from trainables.data.text_files import Rows, read_csv, read_folder

NAMES = ("debian-sections",)


@dataclass(frozen=True)
class Texts:
    """Texts and labels of each split; training rows in such an order that any first n of them are stratified."""

    classes: list[str]
    texts: dict[str, list[str]]
    labels: dict[str, np.ndarray]


def read_texts(data: str, *, text: str = "text", label: str = "label", split_seed: int = 0) -> Texts:
    """Read a set by its name (`debian-sections`), by the path of a CSV or a folder, or by its name on the hub.

    `text` and `label` are the columns. What brings splits of its own (a column `split`, or splits of Hugging Face's)
    keeps them; what is missing is drawn from train, a fifth for each. In a folder each subfolder is a class of .txt.
    """
    parts = _reader(data)(text, label)
    classes = sorted({name for _, names in parts.values() for name in names})
    if len(classes) < 2:
        raise DataError(
            f"{data}: must have two classes at least, but column {label!r} has {classes}. "
            f"Set fixed.label_column to the column that tells them apart."
        )
    known = {name: number for number, name in enumerate(classes)}
    texts = {split: rows for split, (rows, _) in parts.items()}
    labels = {split: np.array([known[name] for name in names], dtype=np.int64) for split, (_, names) in parts.items()}
    return Texts(classes, *_divided(texts, labels, split_seed))


def _reader(data: str) -> Callable[[str, str], dict[str, Rows]]:
    path = Path(data).expanduser()
    if data in NAMES:
        path = debian_sections.FILE
    if path.suffix.lower() == ".csv":
        return lambda text, label: read_csv(path, text, label)
    if path.is_dir() and not hub.is_saved(path):
        return lambda text, label: {"train": read_folder(path)}
    return lambda text, label: hub.texts(data, text, label)


def _divided(
    texts: dict[str, list[str]], labels: dict[str, np.ndarray], seed: int
) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Draw the splits that are missing from train, stratified, and put train in order."""
    if "train" not in texts:
        raise DataError(f"data must have a split 'train', but has {', '.join(texts)}. Name one of them so.")
    order = stratified_order(labels["train"], seed)
    rows: dict[str, Sequence[int]] = {split: range(len(texts[split])) for split in texts}
    source = dict.fromkeys(SPLITS, "train") | {split: split for split in texts}
    part = round(len(order) / 5)
    for split in ("test", "val"):
        if split not in texts:
            rows[split], order = order[:part].tolist(), order[part:]
    rows["train"] = order.tolist()
    if empty := [split for split in SPLITS if not len(rows[split])]:
        raise DataError(
            f"data must have texts with labels in each split, but {empty[0]} has none, and train has "
            f"{len(texts['train'])} before it is divided. Add some."
        )
    chosen = {split: [texts[source[split]][row] for row in rows[split]] for split in SPLITS}
    return chosen, {split: labels[source[split]][np.asarray(rows[split])] for split in SPLITS}
