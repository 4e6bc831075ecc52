"""Labelled texts: a CSV, a folder, a data set of Hugging Face's, or the one that comes with this project."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data import debian_sections, hub
from trainables.data.download import DataError
from trainables.data.splits import stratified_order

NAMES = ("debian-sections",)
SPLITS = ("train", "val", "test")
Rows = tuple[list[str], list[str]]
"""Texts, and the names of their classes."""


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
        raise DataError(f"{data}: must have two classes at least, but column {label!r} has {classes}")
    known = {name: number for number, name in enumerate(classes)}
    texts = {split: rows for split, (rows, _) in parts.items()}
    labels = {split: np.array([known[name] for name in names], dtype=np.int64) for split, (_, names) in parts.items()}
    return Texts(classes, *_divided(texts, labels, split_seed))


def _reader(data: str) -> Callable[[str, str], dict[str, Rows]]:
    path = Path(data).expanduser()
    if data in NAMES:
        path = debian_sections.FILE
    if path.suffix.lower() == ".csv":
        return lambda text, label: _csv(path, text, label)
    if path.is_dir() and not hub.is_saved(path):
        return lambda text, label: {"train": _folder(path)}
    return lambda text, label: hub.texts(data, text, label)


def _csv(path: Path, text: str, label: str) -> dict[str, Rows]:
    if not path.exists():
        raise DataError(f"data must be a CSV that exists, but got {str(path)!r}")
    parts: dict[str, Rows] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if missing := [name for name in (text, label) if name not in (rows.fieldnames or ())]:
            raise DataError(f"{path}: must have a column {missing[0]!r}, but has {', '.join(rows.fieldnames or ())}")
        for row in rows:
            texts, names = parts.setdefault(hub.split_name(row.get("split") or "train"), ([], []))
            texts.append(row[text] or "")
            names.append(row[label] or "")
    if other := sorted(set(parts) - set(SPLITS)):
        raise DataError(f"{path}: column 'split' must hold {', '.join(SPLITS)}, but got {other[0]!r}")
    return parts


def _folder(folder: Path) -> Rows:
    files = [(file, place.name) for place in sorted(folder.iterdir()) for file in sorted(place.rglob("*.txt"))]
    if not files:
        raise DataError(f"{folder} must hold one subfolder a class with .txt files in it, but none was found")
    return [file.read_text(encoding="utf-8") for file, _ in files], [name for _, name in files]


def _divided(
    texts: dict[str, list[str]], labels: dict[str, np.ndarray], seed: int
) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Draw the splits that are missing from train, stratified, and put train in order."""
    if "train" not in texts:
        raise DataError(f"data must have a split 'train', but has {', '.join(texts)}")
    order = stratified_order(labels["train"], seed)
    rows: dict[str, Sequence[int]] = {split: range(len(texts[split])) for split in texts}
    source = dict.fromkeys(SPLITS, "train") | {split: split for split in texts}
    part = round(len(order) / 5)
    for split in ("test", "val"):
        if split not in texts:
            rows[split], order = order[:part].tolist(), order[part:]
    rows["train"] = order.tolist()
    if empty := [split for split in SPLITS if not len(rows[split])]:
        raise DataError(f"data must have texts for each split, but of {len(texts['train'])} none is in {empty[0]}")
    chosen = {split: [texts[source[split]][row] for row in rows[split]] for split in SPLITS}
    return chosen, {split: labels[source[split]][np.asarray(rows[split])] for split in SPLITS}
