"""The copy of a run at a URL that does not answer."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import wait_for

from tuner.engine import mirror as mirrors
from tuner.engine.mirror import Mirror
from tuner.errors import ClusterError
from tuner.storage.url import Objects

from .mirrored import append, driving, fail, folder, objects, there

pytestmark = pytest.mark.slow

__all__ = ["folder", "objects"]


def test_an_outage_is_told_once_and_nothing_is_lost(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "QUIET_SECONDS", 0.5)
    said: list[str] = []
    with driving(objects, folder, say=said.append) as (mirror, ledger):
        put, tries = mirror._segments.append, []
        monkeypatch.setattr(mirror._segments, "append", lambda data: (tries.append(data), fail())[1])
        monkeypatch.setattr(mirrors, "QUIET_SECONDS", 60.0)
        mirror.wait_until_put(lambda: False)
        append(ledger, 1)
        wait_for(lambda: len(tries) > 2)
        assert len(said) == 1 and "cannot be written (the server is away)" in said[0]
        monkeypatch.setattr(mirror._segments, "append", put)
        monkeypatch.setattr(mirrors, "QUIET_SECONDS", 0.5)
        wait_for(lambda: len(said) > 1)
    assert said[1:] == [f"{objects.url} can be written again"]
    assert there(objects) == (folder / "ledger").read_bytes()


def test_an_end_that_cannot_be_put_is_told(objects: Objects, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "END_SECONDS", 0.5)
    driven = driving(objects, folder)
    mirror, _ = driven.__enter__()
    monkeypatch.setattr(mirror.objects, "put_files", lambda files: fail())
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ClusterError, match=f"--resume {folder} puts it there") as caught:
        driven.__exit__(None, None, None)
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    with driving(objects, folder):
        pass
    assert "summary.json" in objects.list("")


def test_what_ended_a_run_is_worth_more_than_a_url_that_is_away(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "INTERRUPTED_SECONDS", 0.1)
    said: list[str] = []
    with pytest.raises(ZeroDivisionError), driving(objects, folder, say=said.append) as (mirror, _):  # noqa: PT012
        monkeypatch.setattr(mirror.objects, "put_files", lambda files: fail())
        (folder / "summary.json").write_text("{}")
        raise ZeroDivisionError
    assert said[-1] == (
        f"{objects.url}: cannot be written: the server is away. All is in {folder}; --resume {folder} puts it there."
    )


def test_an_end_does_not_hang_in_a_url_that_does_not_answer(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "END_SECONDS", 0.1)
    answers, hangs = threading.Event(), threading.Event()
    driven = driving(objects, folder)
    mirror, ledger = driven.__enter__()
    mirror.wait_until_put(lambda: False)
    monkeypatch.setattr(mirror._segments, "append", lambda data: (hangs.set(), answers.wait(), fail()))
    append(ledger, 1)
    assert hangs.wait(30)
    with pytest.raises(ClusterError, match=r"no answer for 0.1 s.*puts it there"):
        driven.__exit__(None, None, None)
    assert mirror.checkpoints() == [], "nothing else is asked of it"
    answers.set()
    mirror._thread.join()


def test_the_best_is_not_fetched_from_a_url_that_is_away(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "get_folder", lambda *args: pytest.fail("it is asked nevertheless"))
    said: list[str] = []
    mirror = Mirror(objects.url, folder, say=said.append)
    mirror.waits("the server is away")
    mirror.fetch_best(SimpleNamespace(chosen=SimpleNamespace(checkpoint="trials/t0/checkpoints/g0_e0001_a1.0")))
    assert "the best checkpoint cannot be fetched" in said[-1] and "does not answer" in said[-1]


def test_a_copy_that_fails_for_another_reason_ends_the_run(objects: Objects, folder: Path, monkeypatch) -> None:
    told: list[BaseException] = []
    with pytest.raises(ClusterError, match="RuntimeError: unforeseen"), driving(objects, folder) as (mirror, _):  # noqa: PT012
        mirror.taken = told.append
        monkeypatch.setattr(mirror._segments, "append", lambda data: pytest.fail("not reached"))
        monkeypatch.setattr(mirror, "_clear", _break)
        wait_for(lambda: told)
        assert not mirror._thread.is_alive() or mirror.error is told[0]
    assert told[0].exit_code == 3


def _break() -> None:
    raise RuntimeError("unforeseen")
