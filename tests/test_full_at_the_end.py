"""A disk without room, or that may only be read, when all that is left to do is to write down what was found."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, fill, small_disk

from tuner.cli import main
from tuner.engine import wishes
from tuner.ledger import Ledger

FROZEN = ROOT / "tests" / "frozen" / "v1"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a small disk with a finished run on it, whose summary is missing."""
    monkeypatch.chdir(ROOT)
    with small_disk(tmp_path / "disk", "2m") as folder:
        shutil.copytree(FROZEN, folder / "r")
        (folder / "r" / "summary.json").unlink(missing_ok=True)
        yield folder


def test_a_full_disk_is_told_in_a_line_and_the_files_are_written_when_there_is_room(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(disk / "ballast")
    assert main(["--resume", str(disk / "r")]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"{disk / 'r'}: [Errno 28] No space left on device")
    assert "Mend that, then go on with --resume." in said
    assert "Traceback" not in said
    (disk / "ballast").unlink()
    assert main(["--resume", str(disk / "r")]) == 0
    assert (disk / "r" / "summary.json").exists()
    assert "report.html could not be written (OSError: [Errno 28] No space" in capsys.readouterr().out, (
        "5 MB are too many"
    )
    assert not list((disk / "r").glob(".report*"))


def test_a_stop_reaches_the_driver_although_the_disk_is_full(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.ask.PATIENCE_SECONDS", 0.1)
    with Ledger(disk / "r"):  # as a driver holds it
        wishes.prepare(disk / "r")
        fill(disk / "ballast")
        assert main(["--stop", str(disk / "r")]) == 0
        assert wishes.take(disk / "r") == [None]


def test_a_disk_that_may_only_be_read_is_told_in_a_line(
    disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        assert main(["--resume", str(disk / "r")]) == 3
        said = capsys.readouterr().err
        assert "Read-only file system" in said
        assert len(said.splitlines()) == 1
        monkeypatch.chdir(disk.parent)
        assert main(["--report", str(disk / "r")]) == 0, "it may be looked at"
        assert (disk.parent / "v1-report.html").exists(), "here, where something may be written"
        monkeypatch.chdir(ROOT)
        assert main(["--resume", str(disk / "r"), "--check"]) == 0
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert main(["--resume", str(disk / "r")]) == 0
