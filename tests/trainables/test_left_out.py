"""What of a data set is no sample of it: copies in hidden folders, rows without a label."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trainables import data
from trainables.data.texts import read_texts

pytestmark = pytest.mark.usefixtures("folders")


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "good/.ipynb_checkpoints"])
def test_copies_in_hidden_folders_are_no_texts(hidden: str, tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.txt").write_text(f"{name} {i}")
    shutil.copytree(tmp_path / "good", tmp_path / hidden)
    texts = read_texts(str(tmp_path))
    assert texts.classes == ["bad", "good"] and sum(map(len, texts.texts.values())) == 10


def test_copies_in_hidden_folders_are_no_images(tmp_path: Path) -> None:
    from PIL import Image

    for place in ("dark", "light", "light/.copies", ".trash"):
        (tmp_path / place).mkdir()
        for i in range(10):
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / place / f"{i}.png")
    found = data.load(str(tmp_path), size=8)
    assert found.classes == ["dark", "light"]
    assert sum(map(len, (found.train, found.val, found.test()))) == 20


def test_images_without_a_label_are_left_out_and_a_test_split_of_these_is_none(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

    def part(labels: list[int | None]) -> Dataset:
        features = Features({"image": Image(), "kind": ClassLabel(names=["even", "odd"])})
        return Dataset.from_dict({"image": [np.full((8, 8), i, np.uint8) for i in range(len(labels))],
                                  "kind": labels}, features)  # fmt: skip

    DatasetDict(train=part([0, 1] * 20 + [-1, None]), test=part([-1] * 8)).save_to_disk(tmp_path / "pictures")
    found = data.load(str(tmp_path / "pictures"), size=8)
    parts = (found.train, found.val, found.test())
    assert [len(one) for one in parts] == [24, 8, 8], "all from the rows of train that have a label"
    assert set().union(*(one.labels.tolist() for one in parts)) == {0, 1}
    assert found.flip, "as the images of a folder are"
