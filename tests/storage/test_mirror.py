"""The copy of a run at a URL: it follows the ledger, and a new head goes on from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from core.experiments import experiment
from support import wait_for

from tuner.engine.mirror import Mirror
from tuner.engine.run import create
from tuner.errors import Locked, UserError
from tuner.ledger import Ledger
from tuner.storage import segments
from tuner.storage.lease import Lease, Taken
from tuner.storage.url import Objects

from .mirrored import append, attempts, driving, fail, folder, objects, there

pytestmark = pytest.mark.slow

__all__ = ["folder", "objects"]


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
        monkeypatch.setattr(mirror._segments, "append", lambda data: (tries.append(data), fail())[1])
        append(ledger, 1)
        mirror.delete(path)
        wait_for(lambda: len(tries) > 1)
        assert len(objects.list(path)) == 2, "a new head would begin from it"
        monkeypatch.setattr(mirror._segments, "append", append_piece)
        wait_for(lambda: not objects.list(path))
    assert b'"attempt":1' in there(objects)


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


def test_who_is_not_sure_of_its_lease_deletes_nothing(objects: Objects, folder: Path, monkeypatch) -> None:
    path = "trials/t0000/checkpoints/g0_e0001_a1.0"
    objects.put(f"{path}/manifest.json", b"{}")
    with driving(objects, folder) as (mirror, ledger):
        mirror.wait_until_put(lambda: False)
        sure, looks = mirror._lease.is_sure, []
        monkeypatch.setattr(segments, "MOST", 1)
        monkeypatch.setattr(mirror._lease, "is_sure", lambda: looks.append(None))
        append(ledger, 1)
        mirror.delete(path)
        mirror.wait_until_put(lambda: False)
        wait_for(lambda: len(looks) > 4)
        assert objects.list(path) and len(objects.list("ledger")) == 2
        monkeypatch.setattr(mirror._lease, "is_sure", sure)
        wait_for(lambda: not objects.list(path) and len(objects.list("ledger")) == 1)


def test_a_new_run_never_replaces_one_that_ended_while_the_lease_was_waited_for(
    objects: Objects, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    first = Mirror(objects.url, folder, is_new=True).__enter__()  # its ledger is not there yet
    second = Mirror(objects.url, tmp_path / "b" / "r", is_new=True)

    def ends() -> None:
        with Ledger(folder) as ledger, first.follow(ledger, print):
            first.wait_until_put(lambda: False)
        first.__exit__(None, None, None)

    take = second._lease.take
    monkeypatch.setattr(second._lease, "take", lambda say: (ends(), take(say)))
    with pytest.raises(UserError, match="must be a new name"):
        second.__enter__()
    assert there(objects) == (folder / "ledger").read_bytes()
    assert second._lease.holder() is None, "it is left to whoever goes on"
