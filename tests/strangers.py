"""What a stranger's files hold that would run code: modules that leave a file, and a pickle."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RAN = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
TRAIN = RAN + "def train(trial, *, x):\n    for _ in trial.epochs(): trial.report(score=x)\n"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of the test's own, and forget what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("stranger", "package", "package.inner"):
        sys.modules.pop(name, None)


class Runs:
    """What runs a function where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def strangers(folder: Path) -> tuple[Path, Path]:
    """Write modules that leave a file where they are imported; returns these files."""
    (folder / "package").mkdir(parents=True)
    (folder / "stranger.py").write_text(TRAIN)
    (folder / "package" / "__init__.py").write_text(RAN)
    (folder / "package" / "inner.py").write_text(RAN + "def measure(trial, **params): return {}\n")
    return folder / "ran", folder / "package" / "ran"
