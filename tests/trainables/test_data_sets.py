"""Data sets: splits, the cache, digits, and image folders."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import data
from trainables.data import cache
from trainables.data.source import Decoded, Source
from trainables.data.splits import split, stratified_order

pytestmark = pytest.mark.usefixtures("folders")


def make_images(folder: Path, each: int = 10) -> Path:
    from PIL import Image

    for shade, name in ((20, "dark"), (220, "light")):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new("L", (30 + i, 20), shade + i).save(folder / name / f"{i}.png")
    return folder


def test_splits_are_disjoint_and_whole() -> None:
    labels = np.arange(1000) % 7
    rows = split(labels, seed=0, first_test=None)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(1000))
    assert [len(rows[name]) for name in ("train", "val", "test")] == [600, 200, 200]


def test_a_set_with_test_images_of_its_own_keeps_them() -> None:
    rows = split(np.arange(120) % 10, seed=0, first_test=100)
    assert rows["test"].tolist() == list(range(100, 120))
    assert len(rows["val"]) == 10
    assert len(rows["train"]) == 90


def test_splits_are_stratified() -> None:
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    for rows in split(labels, seed=3, first_test=None).values():
        shares = np.bincount(labels[rows]) / len(rows)
        assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.01)


def test_any_first_part_of_the_order_is_stratified() -> None:
    labels = np.repeat([0, 1], [900, 100])
    order = stratified_order(labels, seed=1)
    assert all(abs(labels[order[:n]].sum() - n / 10) <= 1 for n in range(1, 1000))


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    first, again, other = (data.load("digits", split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train.images, again.train.images)
    assert torch.equal(first.test().images, again.test().images)
    assert not torch.equal(first.val.images, other.val.images)


def test_digits() -> None:
    digits = data.load("digits")
    assert digits.shape == (1, 8, 8)
    assert (len(digits.train), len(digits.val), len(digits.test())) == (1079, 359, 359)
    assert digits.train.images.dtype == torch.uint8
    pixels = digits.normalize(digits.train.images)
    assert pixels.mean().item() == pytest.approx(0, abs=1e-4)
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(digits.augment(digits.val.images), digits.val.images)


def test_train_size_keeps_the_proportions_and_leaves_val_alone() -> None:
    small, whole = data.load("digits", train_size=100), data.load("digits")
    assert torch.bincount(small.train.labels).tolist() == pytest.approx([10] * 10, abs=1)
    assert torch.equal(small.val.images, whole.val.images)


def test_train_size_must_be_positive() -> None:
    with pytest.raises(data.DataError, match="train_size must be at least 1, but got 0"):
        data.load("digits", train_size=0)


def test_the_arrays_are_mapped_and_written_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.load("digits")
    monkeypatch.setattr(cache, "_write", None)  # a second decoding would fail
    images = data.load("digits").train.images
    (stored,) = (folders / "cache").glob("digits-*/train_images.npy")
    here = images.data_ptr()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(stored))]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in maps]
    assert any(start <= here < end for start, end in ranges)


def test_a_write_into_the_tensor_stays_in_this_process() -> None:
    data.load("digits").train.images.zero_()
    assert data.load("digits").train.images.any()


def test_the_test_split_is_not_opened_before_it_is_asked_for(folders: Path) -> None:
    digits = data.load("digits")
    for path in (folders / "cache").glob("digits-*/test_*.npy"):
        path.unlink()
    assert len(data.load("digits").train) == len(digits.train)
    with pytest.raises(FileNotFoundError):
        digits.test()


def test_processes_that_start_together_decode_once(folders: Path) -> None:
    forked = multiprocessing.get_context("fork")  # as trials are, and without importing torch again
    decoded, ready, rows = forked.Queue(), forked.Barrier(3), np.arange(100)

    def decode() -> Decoded:
        decoded.put("once")
        time.sleep(0.1)  # long enough for the others to find it under way
        return Decoded(np.zeros((100, 1, 2, 2), np.uint8), rows % 2, ["even", "odd"])

    def trial() -> None:
        ready.wait()
        cache.open_split(cache.store(Source("slow", decode), 0), "train")

    trials = [forked.Process(target=trial) for _ in range(3)]
    for process in trials:
        process.start()
    for process in trials:
        process.join()
    assert [process.exitcode for process in trials] == [0, 0, 0]
    assert decoded.get(timeout=5) == "once" and decoded.empty()
    assert sorted(path.suffix for path in (folders / "cache").iterdir()) == ["", ".lock"]


def test_a_decoding_that_fails_leaves_nothing_behind(folders: Path) -> None:
    make_images(folders / "pets")
    (folders / "pets" / "dark" / "3.png").write_bytes(b"no image")
    with pytest.raises(data.DataError, match=r"3\.png must be an image"):
        data.load(str(folders / "pets"))
    assert [path.suffix for path in (folders / "cache").iterdir()] == [".lock"]


def test_an_image_folder(folders: Path) -> None:
    pets = data.load(str(make_images(folders / "pets")), size=16)
    assert pets.shape == (3, 16, 16)
    assert pets.classes == ["dark", "light"]
    assert (len(pets.train), len(pets.val), len(pets.test())) == (12, 4, 4)
    bright = pets.train.images.float().mean((1, 2, 3)) > 128
    assert torch.equal(bright, pets.train.labels.bool())


def test_an_image_folder_that_changed_is_decoded_anew(folders: Path) -> None:
    pets = make_images(folders / "pets")
    before = len(data.load(str(pets)).train)
    (pets / "light" / "9.png").unlink()
    assert len(data.load(str(pets)).train) == before - 1


def test_an_image_folder_without_images(folders: Path) -> None:
    (folders / "pets" / "dog").mkdir(parents=True)
    with pytest.raises(data.DataError, match="must hold one subfolder a class with images in it"):
        data.load(str(folders / "pets"))


def test_an_image_folder_of_splits_is_refused_for_its_test_images_would_be_trained_on(folders: Path) -> None:
    make_images(folders / "pets" / "train")
    make_images(folders / "pets" / "val")
    with pytest.raises(data.DataError, match=r"but holds train, val\. Give one folder with all classes"):
        data.load(str(folders / "pets"))


def test_an_image_of_16_bits_is_refused(folders: Path) -> None:
    make_images(folders / "pets")
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(folders / "pets" / "dark" / "deep.png")
    with pytest.raises(data.DataError, match=r"deep\.png must have 8 bits a channel, but is of mode I"):
        data.load(str(folders / "pets"))


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(data.DataError, match=r"but got 'fashion-minst'\. Did you mean 'fashion-mnist'"):
        data.load("fashion-minst")
