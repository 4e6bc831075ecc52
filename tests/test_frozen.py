"""Run folders written by earlier versions: whatever changes, they are opened, audited and gone on with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from core.experiments import continued, curve, rebuilt
from support import ROOT, command, environment

from tuner.audit import audit
from tuner.cli import main
from tuner.core.records import Asked, Record, Session
from tuner.core.state import replay
from tuner.ledger import NAME, read
from tuner.versions import versions

pytestmark = pytest.mark.slow

BEST = {"v1": ("t0000", 4, 6), "auto1": ("t0001", 6, 10), "pbt1": ("t0000", 6, 4)}
"""The best trial of each, its epoch, and how many trials there are; two are of the first version of their rules."""
MORE = {
    "v1": Asked(budget={"trials": 7}),
    "auto1": Asked(budget={"trials": 11}, settings={"search": {"epochs": 44}}),
    "pbt1": Asked(budget={"epochs": 8}),
}
FROZEN = sorted((ROOT / "tests" / "frozen").iterdir())


@pytest.fixture(params=FROZEN, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "runs" / request.param.name))


def test_it_is_read_and_audited(folder: Path) -> None:
    records = read(folder)
    state = replay(records)
    assert state.finished()
    assert state.best is not None
    assert (state.best.trial, state.best.epoch, len(state.trials)) == BEST[folder.name]
    assert audit(records, versions()).difference == ""


def test_its_missing_files_are_written_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--resume", str(folder)]) == 0
    for name in ("summary.json", "leaderboard.csv", "study.journal", "tensorboard", "best/params.yaml"):
        assert (folder / name).exists(), name


def test_the_core_goes_on_with_it_from_the_middle(folder: Path) -> None:
    records = read(folder)
    session = Session(attempt=9, host="h", pid=1, slots=2, versions={})
    half = [*records[: len(records) // 2], MORE[folder.name], session]
    goes_well(continued(rebuilt(replay(records[:1]).spec, half), curve, half))


@pytest.mark.ray
def test_a_run_goes_on_with_the_oldest_from_the_middle(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ROOT / "tests" / "frozen" / "v1", tmp_path / "runs" / "v1"))
    lines = (folder / NAME).read_bytes().splitlines(keepends=True)
    (folder / NAME).write_bytes(b"".join(lines[: len(lines) // 2]))
    words = command("--resume", str(folder), "--no-dashboard", "--set", "budget.trials=7")
    subprocess.run(words, cwd=ROOT, env=environment(), check=True, timeout=300)
    goes_well(read(folder))


def goes_well(records: list[Record]) -> None:
    """Assert that a run which went on has ended, and that its decisions are those of a core that never stopped."""
    state = replay(records)
    assert state.finished() and state.changed
    assert all(trial.outcome in ("finished", "stopped") for trial in state.trials.values())
    assert audit(records, versions()).difference == ""
