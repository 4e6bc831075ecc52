"""A live run whose disk is full: what it writes, whom it answers, and how it gets out of it. No Ray, no processes."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from played import Played

from tuner.core.records import Disk, Record, Report
from tuner.engine import wishes
from tuner.errors import ClusterError


def _wait_quietly(played: Played) -> None:
    played.live.stops._looked = played.live.room._complained = 0.0


def test_a_full_disk_holds_back_new_trials_until_somebody_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, slots=1)
    work = played.work()
    event = {"event": "lost", "reason": "OSError: No space left on device", "cause": "disk"}
    assert played.live.heard(work.trial, 0, event) == "stop"
    assert played.core.run.full
    assert not (tmp_path / "reserve").exists(), "given up for the record"
    assert played.live.hand_out() is None
    played.live.stops._looked = 0.0
    played.live.tick()
    assert played.core.run.full, "somebody complained a moment ago"
    with monkeypatch.context() as patch:
        patch.setattr("tuner.engine.room.MARGIN", 10**13)
        patch.setattr("tuner.engine.room._write", lambda path, size: size < 10**12)
        _wait_quietly(played)
        played.live.tick()
        assert played.core.run.full, "it cannot be written yet"
    _wait_quietly(played)
    played.live.tick()
    assert not played.core.run.full
    again = played.work()
    assert (again.trial, again.attempt) == (work.trial, "1.1")
    assert [record.full for record in played.published if isinstance(record, Disk)] == [True, False]


def test_a_word_of_a_full_disk_that_comes_late_does_not_pause_the_run_for_ever(tmp_path: Path) -> None:
    played = Played(tmp_path)
    work = played.work()
    for _ in range(2):
        assert played.live.heard(work.trial, 0, {"event": "full", "reason": "x"}) == "go"
        assert played.core.run.full
        _wait_quietly(played)
        played.live.tick()
        assert not played.core.run.full, "although no more is free than when it was said"
    assert not list(tmp_path.glob(".*")), "the probe is gone"


def test_a_run_in_which_nothing_runs_notices_room_and_limits_when_it_is_asked_for_work(tmp_path: Path) -> None:
    played = Played(tmp_path, slots=1)
    work = played.work()
    event = {"event": "lost", "reason": "OSError: No space left on device", "cause": "disk"}
    played.live.heard(work.trial, 0, event)
    assert played.live.hand_out() is None
    _wait_quietly(played)
    assert played.work().trial == work.trial
    played.live.lost(work.trial, "gone")
    wishes.ask(tmp_path, None)
    played.live.stops._looked = 0.0
    assert played.live.hand_out() is None
    assert played.live.over, "asked to stop"


def _without_room(played: Played, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> list[int]:
    """Let the ledger find no room from now on; something happens while it waits. Returns how often it tried."""
    tries: list[int] = []

    def append(record: Record) -> Record:
        tries.append(len(tries))
        raise OSError(errno.ENOSPC, "No space left on device")

    def wait(seconds: float) -> None:
        if len(tries) > 4:
            played.live.stops._looked = 0.0
            happens()
        assert len(tries) < 100, "it waits for ever"

    monkeypatch.setattr(played.ledger, "append", append)
    monkeypatch.setattr("tuner.engine.live.time.sleep", wait)
    return tries


@pytest.mark.parametrize("ending", ["interrupt", "stop", "hours"])
def test_a_ledger_that_waits_for_room_heeds_whoever_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    played = Played(tmp_path, budget={"trials": 8, "epochs": 4, "hours": 1.0})
    work = played.work()

    def end() -> None:
        if ending == "interrupt":
            played.live.interrupted = True
        elif ending == "stop":
            wishes.ask(tmp_path, None)
        else:
            played.live._began -= 7200

    tries = _without_room(played, monkeypatch, end)
    assert played.report(work, 1, 0.5) == "stop", "nothing goes on from a report that was not written"
    assert len(tries) > 4
    assert isinstance(played.live.error, ClusterError)
    assert "No space left on device. Mend that, then resume." in str(played.live.error)
    assert played.core.run.trials[work.trial].epoch == 0


def test_a_ledger_that_finds_room_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path)
    work, append, tries = played.work(), played.ledger.append, itertools.count()

    def full_at_first(record: Record) -> Record:
        if next(tries) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(record)

    monkeypatch.setattr(played.ledger, "append", full_at_first)
    monkeypatch.setattr("tuner.engine.live.time.sleep", lambda seconds: None)
    assert played.report(work, 1, 0.5) == "go"
    assert played.core.run.trials[work.trial].epoch == 1
    assert played.live.error is None


def test_the_reserve_makes_room_for_the_very_record_that_found_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path)
    work, append, reserve = played.work(), played.ledger.append, tmp_path / "reserve"

    def full_beside_the_reserve(record: Record) -> Record:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(record)

    monkeypatch.setattr(played.ledger, "append", full_beside_the_reserve)
    played.live.interrupted = True
    assert played.report(work, 1, 0.5) == "go"
    assert played.live.error is None
    assert [type(record) for record in played.published[-2:]] == [Disk, Report]


def test_the_end_of_a_live_run_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    played.live.stops.stop_all()
    played.live.close()
