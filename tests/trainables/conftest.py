"""Folders of their own for tests of data sets, and no network."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import sets_made

from trainables.data import official


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a cache and a data folder of its own, and no package of Debian's."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TUNER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(official, "FASHION_DEBIAN", tmp_path / "debian")
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> str:
    """Point all downloads to a port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setattr(official, "FASHION_ADDRESSES", (address,))
    monkeypatch.setattr(official, "CIFAR_ADDRESSES", (f"{address}cifar",))
    return address


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make the files of a small Fashion-MNIST."""
    return sets_made.fashion(monkeypatch)


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make the files of a small CIFAR-10."""
    return sets_made.cifar(monkeypatch)
