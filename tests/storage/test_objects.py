"""What the objects below a URL promise, whatever server holds them."""

from __future__ import annotations

import importlib.util
import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuner.errors import UserError
from tuner.storage.transfer import get_folder, put_changed, put_folder
from tuner.storage.url import Objects, probe


def test_what_is_put_can_be_read_listed_and_deleted(objects: Objects) -> None:
    assert objects.list("a") == {}
    objects.put("a/one", b"1")
    objects.put("a/deep/two", b"22")
    objects.put("ab/three", b"333")
    assert objects.list("a") == {"a/deep/two": 2, "a/one": 1}
    objects.put("a/one", b"another")
    assert objects.get("a/one") == b"another"
    assert objects.get_all(["ab/three", "a/one"]) == [b"333", b"another"]
    objects.delete(["a/one", "a/deep/two", "a/was-never-there"])
    assert objects.list("a") == {}
    assert objects.list("ab") == {"ab/three": 3}


def test_what_is_not_there_is_a_file_not_found(objects: Objects) -> None:
    for look in (lambda: objects.get("no"), lambda: objects.get_all(["no"]), lambda: objects.modified("no")):
        with pytest.raises(FileNotFoundError):
            look()


def test_an_object_is_created_once(objects: Objects) -> None:
    assert objects.create("one", b"first")
    assert not objects.create("one", b"second")
    assert objects.create("one", b"first"), "the answer to a try that got through may have been lost"
    assert objects.get("one") == b"first"


def test_of_many_that_create_at_once_one_succeeds(objects: Objects) -> None:
    if objects.url.startswith("memory"):
        pytest.skip("it asks and then puts")
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda n: objects.create("one", b"%d" % n), range(8)))
    assert created.count(True) == 1
    assert objects.get("one") == b"%d" % created.index(True)


def test_a_full_disk_leaves_no_half_of_an_object(tmp_path: Path) -> None:
    objects = Objects(f"file://{tmp_path}")
    objects.put("lease/1", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
    try:
        for write, name in ((objects.put, "lease/1"), (objects.put, "ledger/0"), (objects.create, "ledger/0")):
            with pytest.raises(OSError, match="too large"):
                write(name, b"newer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert objects.get("lease/1") == b"old" and objects.list("ledger") == {}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_the_time_of_an_object_goes_on(objects: Objects) -> None:
    objects.put("early", b"")
    objects.put("late", b"")
    assert objects.modified("late") >= objects.modified("early") > 1.7e9


def test_a_folder_comes_back_whole_and_its_last_file_counts(objects: Objects, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for name in ("model.pt", "files/deep/one", "manifest.json"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    put_folder(objects, "c/1", here, "manifest.json")
    get_folder(objects, "c/1", there, "manifest.json")
    assert {str(path.relative_to(there)): path.read_text() for path in there.rglob("*") if path.is_file()} == {
        name: name for name in ("model.pt", "files/deep/one", "manifest.json")
    }
    objects.delete(["c/1/manifest.json"])
    with pytest.raises(FileNotFoundError, match="not whole"):
        get_folder(objects, "c/1", tmp_path / "again", "manifest.json")
    assert not (tmp_path / "again").exists()


def test_only_what_has_changed_is_put(memory: Objects, tmp_path: Path) -> None:
    known: dict[str, tuple[int, int]] = {}
    for name in ("log.txt", "media/a.png", "lock", ".hidden", "checkpoints/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    put_changed(memory, "t/", tmp_path, known, ("lock", "checkpoints"))
    assert set(memory.list("t")) == {"t/log.txt", "t/media/a.png"}
    memory.delete(["t/media/a.png"])
    (tmp_path / "log.txt").write_text("longer than before")
    put_changed(memory, "t/", tmp_path, known, ("lock", "checkpoints"))
    assert set(memory.list("t")) == {"t/log.txt"}
    assert memory.get("t/log.txt") == b"longer than before"


def test_what_vanishes_or_is_no_file_is_passed_over(objects: Objects, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("stays", "goes"):
        (folder / name).write_text(name)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(folder)
        listener.bind("listener")
        put = objects.put_files
        monkeypatch.setattr(
            objects, "put_files", lambda files: ((folder / "goes").unlink(missing_ok=True), put(files))[1]
        )
        put_changed(objects, "t/", folder, {}, ())
    assert set(objects.list("t")) == {"t/stays"}


def test_a_bucket_that_is_not_there_is_no_file_that_vanished(memory: Objects, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "stays").touch()

    def put(files: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(memory, "put_files", put)
    with pytest.raises(FileNotFoundError, match="bucket"):
        put_changed(memory, "t/", tmp_path, {}, ())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://a/b", "must be a URL that fsspec opens"),
        ("gs://bucket/runs", "must be a URL whose package is installed"),
        ("file:///proc/no/such/place", "must be a URL that can be written"),
    ],
)
def test_a_url_that_is_no_use_is_told_with_its_fix(url: str, said: str) -> None:
    if url.startswith("gs") and importlib.util.find_spec("gcsfs"):
        pytest.skip("the package is installed here")
    with pytest.raises(UserError, match=said) as caught:
        probe(url)
    assert str(caught.value).startswith("storage: ")


@pytest.mark.slow
def test_a_missing_bucket_is_told(server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="Make the bucket first"):
        probe("s3://no-such-bucket/runs")


def test_a_probe_leaves_nothing(url: str) -> None:
    probe(url)
    assert Objects(url).list("") == {}
