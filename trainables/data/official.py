"""Fashion-MNIST and CIFAR-10: their official files, found or downloaded, and decoded."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np

from trainables.data.download import DataError, MissingDataError, check, download
from trainables.data.source import Decoded

FASHION_ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files; compressed anew, so only their content is checked."""

FASHION_FILES = {  # SHA-256 of the download, and of its content
    "train-images-idx3-ubyte": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
FASHION_CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]

CIFAR_ADDRESSES = ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",)
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_FILES = {  # MD5 of each file of the archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def fashion_mnist(data: Path) -> Decoded:
    """Decode Fashion-MNIST (Xiao et al. 2017): 70,000 images of 28 x 28, the last 10,000 for testing."""
    parts = {name: _idx(_fashion_file(data, name), name) for name in FASHION_FILES}
    images = np.concatenate([parts["train-images-idx3-ubyte"], parts["t10k-images-idx3-ubyte"]])
    labels = np.concatenate([parts["train-labels-idx1-ubyte"], parts["t10k-labels-idx1-ubyte"]])
    first_test = len(parts["train-labels-idx1-ubyte"])
    return Decoded(images[:, None], labels, FASHION_CLASSES, first_test)


def cifar10(data: Path) -> Decoded:
    """Decode CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32 x 32, the last 10,000 for testing."""
    # pickle runs what it reads; `_cifar_files` has compared each file with its known checksum
    batches = [pickle.loads(content, encoding="bytes") for content in _cifar_files(data)]
    images = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
    labels = np.concatenate([batch[b"labels"] for batch in batches])
    return Decoded(images, labels, CIFAR_CLASSES, len(labels) - len(batches[-1][b"labels"]))


def _fashion_file(data: Path, name: str) -> bytes:
    """Return the content of one file, from wherever it lies."""
    own = data / "fashion-mnist"
    for place in (own, data / "FashionMNIST" / "raw", FASHION_DEBIAN):  # the second is torchvision's
        for path in (place / f"{name}.gz", place / name):
            if path.exists():
                return check(_content(path), FASHION_FILES[name][1], str(path))
    path = own / f"{name}.gz"
    addresses = [f"{address}{path.name}" for address in FASHION_ADDRESSES]
    if failures := download(addresses, path, FASHION_FILES[name][0]):
        files = f"{', '.join(f'{file}.gz' for file in FASHION_FILES)} into {own.resolve()}"
        package = f"install Debian's package (apt-get install dataset-fashion-mnist: {FASHION_DEBIAN})"
        raise MissingDataError(_missing("fashion-mnist", failures, f"{package}, or put {files}"))
    return check(_content(path), FASHION_FILES[name][1], str(path))


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise DataError(f"{path} must be a whole gzip file, but got: {error}. Delete it and get it again.") from error


def _idx(content: bytes, name: str) -> np.ndarray:
    """Decode an IDX file of bytes: two zeros, type 8, the number of axes, each axis's length, the values."""
    axes = content[3]
    if content[:3] != b"\x00\x00\x08":
        raise DataError(f"{name} must be an IDX file of bytes, but begins with {content[:3]!r}")
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _cifar_files(data: Path) -> list[bytes]:
    """Return the content of each file, from a folder or an archive that is there, else from a download."""
    for place in (data / CIFAR_FOLDER, data / "cifar10" / CIFAR_FOLDER):
        if place.is_dir():
            return [_cifar_file(place, name) for name in CIFAR_FILES]
    for archive in (data / CIFAR_ARCHIVE, data / "cifar10" / CIFAR_ARCHIVE):
        if archive.exists():
            return _cifar_members(archive)
    archive = data / "cifar10" / CIFAR_ARCHIVE
    if failures := download(CIFAR_ADDRESSES, archive, CIFAR_SHA256):
        raise MissingDataError(_missing("cifar10", failures, f"put {CIFAR_ARCHIVE} into {archive.parent.resolve()}"))
    return _cifar_members(archive)


def _cifar_file(place: Path, name: str) -> bytes:
    path = place / name
    if not path.exists():
        raise MissingDataError(f"{place} must hold {', '.join(CIFAR_FILES)}, but {name} is missing")
    return check(path.read_bytes(), CIFAR_FILES[name], str(path))


def _cifar_members(archive: Path) -> list[bytes]:
    """Read the files out of the archive, unpacking nothing to disk."""
    try:
        with tarfile.open(archive) as tar:
            members = {name: tar.extractfile(f"{CIFAR_FOLDER}/{name}") for name in CIFAR_FILES}
            contents = {name: file.read() for name, file in members.items() if file}
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise DataError(
            f"{archive} must be the whole archive, but got: {error}. Delete it and get it again."
        ) from error
    return [check(contents.get(name, b""), digest, f"{archive}: {name}") for name, digest in CIFAR_FILES.items()]


def _missing(dataset: str, failures: list[str], by_hand: str) -> str:
    return (
        f"{dataset} is not on this machine and could not be downloaded ({'; '.join(failures)}). "
        f"Either give this machine a network that reaches the address, or {by_hand} "
        f"(the folder above it is set by TUNER_DATA, else it is ./data)."
    )
