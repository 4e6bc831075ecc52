"""A ledger that is fetched beside one that is here: what was done here is not lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from tuner.errors import Locked
from tuner.ledger import NAME
from tuner.remote import fetch
from tuner.storage import Log

RUN = ROOT / "tests" / "frozen" / "v1"
LINES = (RUN / NAME).read_bytes().splitlines(keepends=True)


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a cluster's head that holds twelve records of a run, and what was found by then."""
    there = tmp_path / "head" / "v1"
    (there / "best").mkdir(parents=True)
    (there / "best" / "params.yaml").write_text("of the head")
    (there / NAME).write_bytes(b"".join(LINES[:12]))

    @contextmanager
    def fetched(jobs: Any, told: Any, into: Path) -> Iterator[Path]:
        yield Path(shutil.copytree(there, into / ".fetched" / "v1", dirs_exist_ok=True))

    monkeypatch.setattr(fetch, "_packed", lambda jobs, run: {"folder": str(there)})
    monkeypatch.setattr(fetch, "_fetched", fetched)
    return there


def bring(runs: Path) -> Path:
    return fetch.fetch(None, "v1", runs)  # type: ignore[arg-type]


def test_what_was_gone_on_with_here_stays(head: Path, tmp_path: Path) -> None:
    here = tmp_path / "runs" / "v1"
    (here / "best").mkdir(parents=True)
    (here / "best" / "params.yaml").write_text("of here")
    shutil.copy(RUN / NAME, here)
    assert bring(tmp_path / "runs") == here
    assert (here / NAME).read_bytes() == b"".join(LINES)
    assert (here / "best" / "params.yaml").read_text() == "of here"


def test_what_went_on_in_both_places_is_kept_aside(head: Path, tmp_path: Path, capsys) -> None:
    here = tmp_path / "runs" / "v1"
    here.mkdir(parents=True)
    mine = b"".join([*LINES[:10], LINES[20]])
    (here / NAME).write_bytes(mine)
    bring(tmp_path / "runs")
    (aside,) = here.glob("ledger.aside-*")
    assert aside.read_bytes() == mine
    assert aside.name in capsys.readouterr().err
    assert (here / NAME).read_bytes() == b"".join(LINES[:12])
    assert (here / "best" / "params.yaml").read_text() == "of the head"


@pytest.mark.parametrize("count", [10, 12])
def test_under_a_driver_nothing_is_changed(count: int, head: Path, tmp_path: Path) -> None:
    here = tmp_path / "runs" / "v1"
    (here / "best").mkdir(parents=True)
    (here / NAME).write_bytes(b"".join(LINES[:count]))
    log = Log(here / NAME)
    with pytest.raises(Locked):
        bring(tmp_path / "runs")
    log.close()
    assert (here / NAME).read_bytes() == b"".join(LINES[:count])
    assert (here / "best").exists()


def test_what_is_not_here_yet_comes_whole(head: Path, tmp_path: Path) -> None:
    here = bring(tmp_path / "runs")
    assert (here / NAME).read_bytes() == b"".join(LINES[:12])
    assert (here / "best" / "params.yaml").read_text() == "of the head"
