"""A run's folder, a URL for it, and a driver that has both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core.experiments import experiment

from tuner.core.records import Session
from tuner.engine.mirror import Mirror
from tuner.engine.run import create
from tuner.ledger import Ledger, read
from tuner.storage.segments import Segments
from tuner.storage.url import Objects

SESSION = Session(attempt=1, host="h", pid=1, slots=1, versions={})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a run's folder."""
    made = tmp_path / "runs" / "r"
    create(made, experiment(), tmp_path)
    return made


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """Have a URL for it."""
    return Objects(f"file://{tmp_path}/objects")


@contextmanager
def driving(objects: Objects, folder: Path, say: Any = print) -> Iterator[tuple[Mirror, Ledger]]:
    with Mirror(objects.url, folder, say=say) as mirror:
        mirror.bring()
        with Ledger(folder) as ledger, mirror.follow(ledger, say):
            yield mirror, ledger


def append(ledger: Ledger, *attempts: int) -> None:
    for attempt in attempts:
        ledger.append(replace(SESSION, attempt=attempt))


def attempts(folder: Path) -> list[int]:
    return [record.attempt for record in read(folder)[1:]]


def there(objects: Objects) -> bytes:
    return Segments(objects).read()


def fail() -> bool:
    raise OSError("the server is away")
