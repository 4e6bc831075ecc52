"""How a set falls into train, val and test: stratified, and the same for the same seed."""

from __future__ import annotations

import numpy as np

from trainables.data.download import DataError


def split(labels: np.ndarray, *, seed: int, first_test: int | None) -> dict[str, np.ndarray]:
    """Draw the rows of train, val and test.

    Where a set brings its own test images (from row `first_test` on), these are kept and a tenth of the
    others is val; else a fifth is test and a fifth val. Training rows stand in such an order that any first
    n of them are stratified too.
    """
    order = stratified_order(labels[:first_test], seed)
    share = 5 if first_test is None else 10
    part = round(len(order) / share)
    if first_test is None:
        test, order = order[:part], order[part:]
    else:
        test = np.arange(first_test, len(labels))
    rows = {"train": order[part:], "val": order[:part], "test": test}
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
