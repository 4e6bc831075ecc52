"""The contract of the data sets: every one that has a name goes through the same tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sets_made import cifar, fashion, pack, put

from trainables import data
from trainables.data import official
from trainables.data.catalog import SETS

Put = Callable[[Path, pytest.MonkeyPatch], None]
CASES: dict[str, Put | None] = {
    "digits": None,
    "fashion-mnist": lambda folder, patch: put(folder / "fashion-mnist", fashion(patch)),
    "cifar10": lambda folder, patch: pack(folder / official.CIFAR_ARCHIVE, cifar(patch)),
}
"""For each set: what puts its files into the folder of downloads, small ones; None where it comes with a package."""


def test_every_set_is_tried() -> None:
    assert set(CASES) == set(SETS)


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest, folders: Path, offline: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if place := CASES[request.param]:
        place(folders / "data", monkeypatch)
    return str(request.param)


def test_images_and_labels_have_the_form_that_trainables_rely_on(name: str) -> None:
    found = data.load(name)
    for split in (found.train, found.val, found.test()):
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert split.images.shape == (len(split), *found.shape) and split.labels.shape == (len(split),)
        assert int(split.labels.min()) >= 0 and int(split.labels.max()) < len(found.classes)
    assert len(set(found.train.labels.tolist())) == len(found.classes), "each class is trained"
    assert len(found.mean) == len(found.std) == found.shape[0]
    assert found.augment(found.train.images[:2]).shape == found.train.images[:2].shape


def test_splits_share_no_row_and_are_fixed_by_their_seed(name: str, folders: Path) -> None:
    decoded = SETS[name](folders / "data").decode()
    total = len(decoded.labels)
    found, again = data.load(name), data.load(name)
    assert len(found.train) + len(found.val) + len(found.test()) == total
    assert torch.equal(found.val.images, again.val.images)
    other = data.load(name, split_seed=1)
    assert not torch.equal(found.train.labels, other.train.labels)
    if decoded.first_test is not None:
        own = np.stack([decoded.images[row] for row in range(decoded.first_test, total)])
        assert np.array_equal(found.test().images.numpy(), own), "its own test images stay test images"


def test_a_part_of_it_holds_every_class_still(name: str) -> None:
    part = data.load(name, train_size=30)
    assert len(part.train) == 30
    assert len(set(part.train.labels.tolist())) == len(part.classes)
