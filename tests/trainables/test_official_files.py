"""Fashion-MNIST and CIFAR-10: found, downloaded, checked."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from sets_made import pack, put

from trainables import data
from trainables.data import official

pytestmark = pytest.mark.usefixtures("folders")


@pytest.mark.parametrize("place", ["data/fashion-mnist", "data/FashionMNIST/raw", "debian"])
def test_fashion_mnist_is_found(place: str, folders: Path, fashion: dict[str, bytes], offline: str) -> None:
    put(folders / place, fashion)
    found = data.load("fashion-mnist")
    assert (len(found.train), len(found.val), len(found.test())) == (90, 10, 20)
    assert found.shape == (1, 28, 28)


def test_fashion_mnist_is_downloaded(folders: Path, fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    put(folders / "web", fashion)
    monkeypatch.setattr(official, "FASHION_ADDRESSES", (f"{(folders / 'web').as_uri()}/",))
    assert len(data.load("fashion-mnist").train) == 90
    assert sorted(path.name for path in (folders / "data" / "fashion-mnist").iterdir()) == sorted(
        f"{name}.gz" for name in fashion
    )


def test_without_network_and_file_the_error_tells_both_ways(folders: Path, offline: str) -> None:
    with pytest.raises(data.MissingDataError) as caught:
        data.load("fashion-mnist")
    text = str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)
    assert offline in text and "refused" in text
    assert "network that reaches the address" in text
    assert "apt-get install dataset-fashion-mnist" in text
    assert "put train-images-idx3-ubyte.gz, " in text and str(folders / "data" / "fashion-mnist") in text


def test_cifar10_without_network_and_file(folders: Path, offline: str) -> None:
    with pytest.raises(data.MissingDataError, match=r"put cifar-10-python\.tar\.gz into"):
        data.load("cifar10", folder=folders / "elsewhere")


def test_a_download_with_the_wrong_checksum_is_not_kept(
    folders: Path, fashion: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folders / "web", {name: content[:-9] for name, content in fashion.items()})
    monkeypatch.setattr(official, "FASHION_ADDRESSES", (f"{(folders / 'web').as_uri()}/",))
    with pytest.raises(data.MissingDataError, match="checksum: sha256 must be"):
        data.load("fashion-mnist")
    assert not list((folders / "data" / "fashion-mnist").iterdir())


def test_a_found_file_with_other_content_is_refused(folders: Path, fashion: dict[str, bytes], offline: str) -> None:
    put(folders / "debian", {name: gzip.compress(b"other") for name in fashion})
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte\.gz: sha256 must be"):
        data.load("fashion-mnist")


def test_a_found_file_that_was_cut_is_refused(folders: Path, fashion: dict[str, bytes], offline: str) -> None:
    put(folders / "debian", {name: content[:-20] for name, content in fashion.items()})
    with pytest.raises(data.DataError, match="must be a whole gzip file"):
        data.load("fashion-mnist")


def test_cifar10_is_read_from_its_archive(folders: Path, cifar: dict[str, bytes], offline: str) -> None:
    pack(folders / "data" / official.CIFAR_ARCHIVE, cifar)
    found = data.load("cifar10")
    assert found.shape == (3, 32, 32)
    assert (len(found.train), len(found.val), len(found.test())) == (90, 10, 20)


def test_cifar10_is_read_from_its_unpacked_folder(folders: Path, cifar: dict[str, bytes], offline: str) -> None:
    place = folders / "data" / official.CIFAR_FOLDER
    place.mkdir(parents=True)
    for name, content in cifar.items():
        (place / name).write_bytes(content)
    assert len(data.load("cifar10").train) == 90


def test_a_pickle_with_the_wrong_checksum_is_never_unpickled(
    folders: Path, cifar: dict[str, bytes], offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folders / "data" / official.CIFAR_ARCHIVE, {**cifar, "data_batch_3": b"evil"})
    monkeypatch.setattr(official.pickle, "loads", None)
    with pytest.raises(data.DataError, match="data_batch_3: md5 must be"):
        data.load("cifar10")


def test_an_archive_that_was_cut_is_refused(folders: Path, cifar: dict[str, bytes], offline: str) -> None:
    archive = folders / "data" / official.CIFAR_ARCHIVE
    pack(archive, cifar)
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(data.DataError, match="must be the whole archive"):
        data.load("cifar10")
