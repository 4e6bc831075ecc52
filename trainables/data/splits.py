"""What splits are called, and how a set falls into train, val and test: stratified, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.data.download import DataError

SPLITS = ("train", "val", "test")
OTHER_NAMES = {"validation": "val", "valid": "val", "dev": "val"}


def split_name(name: str) -> str:
    """Call a split as it is called here: train, val or test."""
    return OTHER_NAMES.get(name, name)


def refuse_splits(folder: Path, classes: set[str]) -> None:
    """Raise DataError where what would be the classes are splits: the test data would be trained on."""
    if {split_name(name) for name in classes} <= set(SPLITS):
        raise DataError(
            f"{folder.absolute()}: must hold one subfolder a class, but holds {', '.join(sorted(classes))}. "
            f"Give one folder with all classes: the splits are made of it."
        )


def is_hidden(path: Path, folder: Path) -> bool:
    """Tell whether a file lies in a hidden folder below another one: notebooks keep copies there."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def split(
    labels: np.ndarray, *, seed: int, first_test: int | None, first_val: int | None = None
) -> dict[str, np.ndarray]:
    """Draw the rows of train, val and test.

    What a set brings of its own is kept: test images from row `first_test` on, validation images from row `first_val`
    on, before those. What is missing is drawn from the others: a fifth for test, and for val a fifth too, or a tenth
    where the set has its own test images. Training rows stand in such an order that any first n of them are stratified
    too.
    """
    order = stratified_order(labels[: first_test if first_val is None else first_val], seed)
    part = round(len(order) / (5 if first_test is None else 10))
    if first_test is None:
        test, order = order[:part], order[part:]
    else:
        test = np.arange(first_test, len(labels))
    if first_val is None:
        val, order = order[:part], order[part:]
    else:
        val = np.arange(first_val, len(labels) if first_test is None else first_test)
    rows = {"train": order, "val": val, "test": test}
    if empty := [name for name, found in rows.items() if not len(found)]:
        raise DataError(f"a data set must have images for each split, but of {len(labels)} none is in {empty[0]}")
    return rows


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Shuffle rows so that any first n of them hold each class in proportion, give or take one."""
    random = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    ties = random.permutation(len(labels))
    return np.lexsort((ties, place))
