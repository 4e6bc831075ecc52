"""Every block of every page, in its order, as a newcomer types it; CI runs the README's set-up by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pages import PAGES, blocks, run
from reader import Reader

import tuner

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("alone")]
REAL = ("README.md", "docs/start.md")
"""Where runs are real; on the other pages one trial is trained, and what docs/start.md has left is looked at."""
JOURNEYS = "docs/journeys/"
"""Their pages have tests of their own."""
OTHERS = [page for page in PAGES if page not in REAL and not page.startswith(JOURNEYS) and run(page)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follow docs/start.md; gives the folder, in which runs/mine lies."""
    folder = tmp_path_factory.mktemp("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Reader(folder, real=True).follow(run("docs/start.md"))
    return folder


def test_the_set_up_comes_first_and_is_two_lines() -> None:
    first, second = (block.text for block in blocks("README.md")[:2])
    assert first.endswith("python launch.py --space resnet.yaml\n")
    assert second.endswith("pytest\n")
    for line in (first, second):
        assert line.count("\n") == 1
        assert "-c constraints.txt" in line
        assert "python3 -m venv" in line


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, real=True)
    reader.follow(run("README.md")[2:])
    assert len(reader.ran) >= 5
    for name in ("model.pt", "model.safetensors", "README.md"):
        assert (tmp_path / "runs" / "mine" / "best" / name).exists()
    assert len(tuner.Result(tmp_path / "runs" / "mine").table()) in (9, 10), "auto chooses how many it needs"


def test_the_start(start: Path) -> None:
    assert (start / "runs" / "mine" / "best" / "model.pt").exists()


@pytest.mark.parametrize("page", OTHERS)
def test_the_page(page: str, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(start / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    Reader(tmp_path).follow(run(page))
