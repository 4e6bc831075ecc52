"""Run folders written by earlier versions: whatever changes, they are opened, audited and gone on with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support import ROOT, command, environment

from tuner.audit import audit
from tuner.cli import main
from tuner.core.state import replay
from tuner.ledger import NAME, read
from tuner.versions import versions

pytestmark = pytest.mark.slow

FROZEN = sorted((ROOT / "tests" / "frozen").iterdir())


@pytest.fixture(params=FROZEN, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "runs" / request.param.name))


def test_it_is_read_and_audited(folder: Path) -> None:
    records = read(folder)
    state = replay(records)
    assert state.finished()
    assert state.best is not None
    assert (state.best.trial, state.best.epoch) == ("t0000", 4)
    assert len(state.trials) == 6
    assert audit(records, versions()).difference == ""


def test_its_missing_files_are_written_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--resume", str(folder)]) == 0
    for name in ("summary.json", "leaderboard.csv", "study.journal", "tensorboard", "best/params.yaml"):
        assert (folder / name).exists(), name


@pytest.mark.ray
def test_it_is_gone_on_with_from_the_middle(folder: Path) -> None:
    lines = (folder / NAME).read_bytes().splitlines(keepends=True)
    (folder / NAME).write_bytes(b"".join(lines[: len(lines) // 2]))
    flags = ["--resume", str(folder), "--no-dashboard", "--set", "budget.trials=7"]
    subprocess.run(command(*flags), cwd=ROOT, env=environment(), check=True, timeout=300)
    records = read(folder)
    assert len(replay(records).trials) == 7
    assert audit(records, versions()).difference == ""
