"""URLs to try things on: memory, a folder, and a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from seaweed import BUCKET, Seaweed, started

from tuner.storage.url import Objects


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Have a real S3 server."""
    with started(tmp_path_factory.mktemp("seaweed")) as made:
        yield made


@pytest.fixture(params=["memory", "file", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a URL below which there is nothing yet."""
    if request.param == "s3":
        for name, value in request.getfixturevalue("server").environment.items():
            monkeypatch.setenv(name, value)
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"
    return f"file://{tmp_path}/objects" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def objects(url: str) -> Objects:
    """Give the objects of every kind of URL in turn."""
    return Objects(url)


@pytest.fixture
def memory() -> Objects:
    """Give objects in memory, for what does not hang on the kind of server."""
    return Objects(f"memory://{uuid.uuid4().hex}")
