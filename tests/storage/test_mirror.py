"""The copy of a run at a URL: it follows the ledger, and a new head goes on from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core.experiments import experiment
from support import wait_for

from tuner.core.records import Session
from tuner.engine import mirror as mirrors
from tuner.engine.mirror import Mirror
from tuner.engine.run import create
from tuner.errors import ClusterError, Locked, UserError
from tuner.ledger import Ledger, read
from tuner.storage.lease import Lease, Taken
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


def test_the_ledger_is_copied_as_it_grows_and_whole_at_the_end(objects: Objects, folder: Path) -> None:
    with driving(objects, folder) as (mirror, ledger):
        for attempt in (1, 2, 3):
            append(ledger, attempt)
            mirror.wait_until_put(lambda: False)
            assert there(objects) == (folder / "ledger").read_bytes()
        append(ledger, 4)
        (folder / "summary.json").write_text("{}")
        (folder / "reserve").write_text("for this disk alone")
    assert there(objects) == (folder / "ledger").read_bytes()
    names = [name for name in objects.list("") if not name.startswith(("ledger/", "lease/"))]
    assert names == ["summary.json"]


def test_a_new_head_goes_on_from_the_copy(objects: Objects, folder: Path, tmp_path: Path) -> None:
    with driving(objects, folder) as (_, ledger):
        append(ledger, 1, 2)
    head = tmp_path / "head" / "r"
    with driving(objects, head) as (_, ledger):
        append(ledger, 3)
    assert attempts(head) == [1, 2, 3]
    with driving(objects, folder):
        assert attempts(folder) == [1, 2, 3], "the first one goes on from there too"
    assert not list(folder.glob("ledger.aside*")), "it had nothing that the copy has not"


def test_what_only_the_folder_has_counts_where_nobody_went_on(objects: Objects, folder: Path) -> None:
    with driving(objects, folder) as (_, ledger):
        append(ledger, 1)
    with Ledger(folder) as ledger:
        append(ledger, 2)  # as if it had been killed before this was put
    with driving(objects, folder):
        pass
    assert attempts(folder) == [1, 2]
    assert there(objects) == (folder / "ledger").read_bytes()


def test_what_only_the_folder_has_is_kept_aside_where_another_went_on(
    objects: Objects, folder: Path, tmp_path: Path
) -> None:
    with driving(objects, folder) as (_, ledger):
        append(ledger, 1)
    head, said = tmp_path / "head" / "r", []
    with driving(objects, head) as (_, ledger):
        append(ledger, 2)
    with Ledger(folder) as ledger:
        append(ledger, 77)
    with driving(objects, folder, say=said.append):
        assert attempts(folder) == [1, 2]
    (aside,) = folder.glob("ledger.aside-*")
    assert b'"attempt":77' in aside.read_bytes()
    assert len(said) == 1 and "has gone on without" in said[0] and aside.name in said[0]


def test_another_run_is_never_written_over(objects: Objects, folder: Path, tmp_path: Path) -> None:
    with driving(objects, folder):
        pass
    shutil.rmtree(folder)
    create(folder, experiment(seed=5), tmp_path)
    before = (folder / "ledger").read_bytes()
    with pytest.raises(UserError, match="is another run"), driving(objects, folder):
        pass
    assert (folder / "ledger").read_bytes() == before


def test_a_url_without_a_run_is_told(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a run, but holds no ledger"), driving(objects, tmp_path / "none"):
        pass


def test_a_name_that_is_taken_is_refused_before_the_lease(objects: Objects, folder: Path) -> None:
    with driving(objects, folder) as (mirror, _):
        mirror.wait_until_put(lambda: False)
        with pytest.raises(UserError, match="must be a new name"):
            Mirror(objects.url, folder, is_new=True).__enter__()


def test_a_second_driver_is_refused(objects: Objects, folder: Path, tmp_path: Path) -> None:
    with driving(objects, folder) as (mirror, _):
        mirror._lease.objects.put("lease/000001", mirror._lease._data().replace(b'"renewed": 0', b'"renewed": 5'))
        rival = Mirror(objects.url, tmp_path / "rival" / "r", say=lambda text: mirror._lease.renew())
        with pytest.raises(Locked, match="is driving this run"):
            rival.__enter__()
    assert not (tmp_path / "rival").exists()


def test_who_has_lost_the_lease_writes_nothing_more(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("tuner.storage.lease.RENEWED_SECONDS", 0.0)
    told: list[BaseException] = []
    with pytest.raises(Taken), driving(objects, folder) as (mirror, ledger):  # noqa: PT012
        mirror.taken = told.append
        mirror.wait_until_put(lambda: False)
        before = there(objects)
        thief = Lease(objects)
        monkeypatch.setattr(thief, "_is_expired", lambda term: True)
        thief.take(print)
        wait_for(lambda: told)
        append(ledger, 9)
        (folder / "summary.json").write_text("{}")
    assert isinstance(told[0], Taken) and told[0].exit_code == 3
    assert there(objects) == before
    assert "summary.json" not in objects.list("")
    thief.renew()


def test_a_checkpoint_is_deleted_only_when_the_copy_says_why(objects: Objects, folder: Path, monkeypatch) -> None:
    path = "trials/t0000/checkpoints/g0_e0001_a1.0"
    objects.put(f"{path}/manifest.json", b"{}")
    objects.put(f"{path}/model.pt", b"1")
    with driving(objects, folder) as (mirror, ledger):
        mirror.wait_until_put(lambda: False)
        append_piece, tries = mirror._segments.append, []
        monkeypatch.setattr(mirror._segments, "append", lambda data: (tries.append(data), _fail())[1])
        append(ledger, 1)
        mirror.delete(path)
        wait_for(lambda: len(tries) > 1)
        assert mirror.checkpoints() == [path], "a new head would begin from it"
        monkeypatch.setattr(mirror._segments, "append", append_piece)
        wait_for(lambda: not mirror.checkpoints())
    assert b'"attempt":1' in there(objects)


def _fail() -> bool:
    raise OSError("the server is away")


def test_many_are_deleted_after_one_look(objects: Objects, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"trials/t{n:04d}/checkpoints/g0_e0001_a1.0" for n in range(50)]
    for path in paths:
        objects.put(f"{path}/manifest.json", b"{}")
    with driving(objects, folder) as (mirror, _):
        looks, look = [], mirror.objects.list
        monkeypatch.setattr(mirror.objects, "list", lambda below: (looks.append(below), look(below))[1])
        for path in paths[:-1]:
            mirror.delete(path)
        wait_for(lambda: mirror.checkpoints() == paths[-1:])
    assert not [below for below in looks if below.startswith("trials/")]


def test_an_outage_is_told_once_and_nothing_is_lost(objects: Objects, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "QUIET_SECONDS", 0.5)
    said: list[str] = []
    with driving(objects, folder, say=said.append) as (mirror, ledger):
        put, tries = mirror._segments.append, []
        monkeypatch.setattr(mirror._segments, "append", lambda data: (tries.append(data), _fail())[1])
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
    monkeypatch.setattr(mirror.objects, "put_files", lambda files: _fail())
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
    with pytest.raises(ZeroDivisionError), driving(objects, folder) as (mirror, _):  # noqa: PT012
        monkeypatch.setattr(mirror.objects, "put_files", lambda files: _fail())
        (folder / "summary.json").write_text("{}")
        raise ZeroDivisionError


def test_projections_that_are_gone_here_are_gone_there(objects: Objects, folder: Path) -> None:
    for name in ("tensorboard/old", "best/model.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    with driving(objects, folder):
        pass
    (folder / "tensorboard" / "old").rename(folder / "tensorboard" / "new")
    with driving(objects, folder):
        pass
    assert [*objects.list("best"), *objects.list("tensorboard")] == ["best/model.pt", "tensorboard/new"]
