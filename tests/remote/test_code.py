"""With which code a run goes on, where that of its first job lies in a copy of the user's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.spec.bind import find, home

TRAIN = "def train(trial, *, lr):\n    trial.report(loss=lr)\n"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "session" / "runtime_resources" / "working_dir_files"


def with_code(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(TRAIN)
    return folder


@pytest.mark.parametrize("ref", ["mine:train", "mine.py:train"])
@pytest.mark.parametrize("below", ["", "sub/deep"])
def test_what_was_just_shipped_counts(copies: Path, monkeypatch: pytest.MonkeyPatch, below: str, ref: str) -> None:
    first, second = with_code(copies / "_ray_pkg_1" / below), with_code(copies / "_ray_pkg_2" / below)
    monkeypatch.chdir(copies / "_ray_pkg_1")
    assert find(ref, first).trainable.root == first
    monkeypatch.chdir(copies / "_ray_pkg_2")
    assert find(ref, home(first)).trainable.root == second


def test_a_run_of_the_head_goes_on_with_what_was_shipped_if_that_has_its_code(
    copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_head, shipped = with_code(tmp_path / "project"), with_code(copies / "_ray_pkg_1")
    monkeypatch.chdir(shipped)
    assert find("mine:train", home(on_head)).trainable.root == shipped
    (shipped / "mine.py").unlink()
    assert find("mine:train", home(on_head)).trainable.root == on_head


def test_a_run_of_a_job_goes_on_by_hand_with_the_code_of_the_current_folder(
    copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, project = with_code(copies / "_ray_pkg_1" / "sub"), with_code(tmp_path / "project")
    monkeypatch.chdir(project)
    assert home(first) == project
    assert find("mine:train", home(first)).trainable.root == project


def test_other_folders_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = with_code(tmp_path / "yaml"), with_code(tmp_path / "here")
    monkeypatch.chdir(here)
    assert home(beside) == beside
    assert find("mine:train", home(beside)).trainable.root == beside
