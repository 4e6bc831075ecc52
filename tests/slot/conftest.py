"""A bench for each test, cleared at its end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Make slots for all tests of a file: that a zygote imports torch is most of what such a test costs."""
    bench = Bench(tmp_path_factory.mktemp("shared"))
    yield bench
    bench.close()


@pytest.fixture
def meetings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the ranks meet in a folder of the test's own."""
    folder = tmp_path / "meetings"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
