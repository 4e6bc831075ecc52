"""Small files in the form of the official data sets, with checksums to match."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from trainables.data import official


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make a Fashion-MNIST of 100 and 20 images, with checksums to match."""
    random = np.random.default_rng(0)
    content = {}
    for name, count in (("train", 100), ("t10k", 20)):
        content[f"{name}-images-idx3-ubyte"] = idx(random.integers(0, 256, (count, 28, 28), np.uint8))
        content[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8) % 10)
    packed = {name: gzip.compress(part, mtime=0) for name, part in content.items()}
    sums = {name: (sha256(packed[name]), sha256(content[name])) for name in content}
    monkeypatch.setattr(official, "FASHION_FILES", sums)
    return packed


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(content)


def cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make a CIFAR-10 of 20 images a file, with checksums to match."""
    random = np.random.default_rng(0)
    content = {
        name: pickle.dumps(
            {b"data": random.integers(0, 256, (20, 3072), np.uint8), b"labels": [i % 10 for i in range(20)]}
        )
        for name in official.CIFAR_FILES
    }
    sums = {name: hashlib.md5(part).hexdigest() for name, part in content.items()}
    monkeypatch.setattr(official, "CIFAR_FILES", sums)
    return content


def pack(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{official.CIFAR_FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
