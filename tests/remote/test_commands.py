"""What is asked of a cluster from afar, as far as it goes without one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import ROOT

from tuner.errors import ClusterError, UserError
from tuner.remote import commands, fetch
from tuner.remote.commands import _refuse_late, there
from tuner.remote.follow import _code, printer
from tuner.remote.jobs import Jobs
from tuner.remote.pack import pack, pack_page

PLACES = {"plain": "plain", "shared": "/nfs/runs/shared", "far": "s3://bucket/runs/far"}


@pytest.mark.parametrize(
    ("text", "found", "stopped"),
    [
        ("plain", "plain", "plain"),
        ("plain/t0003", "plain/t0003", "plain/t0003"),
        ("runs/plain/", "plain", "plain"),
        ("shared", "/nfs/runs/shared", "/nfs/runs/shared"),
        ("shared/t0003", "/nfs/runs/shared/t0003", "/nfs/runs/shared/t0003"),
        ("/nfs/runs/shared/t0003", "/nfs/runs/shared/t0003", "/nfs/runs/shared/t0003"),
        ("far", "s3://bucket/runs/far", "far"),
        ("s3://bucket/runs/far/t0003", "s3://bucket/runs/far/t0003", "far/t0003"),
        ("farther", "farther", "farther"),
        ("/nfs/runs/unknown", "/nfs/runs/unknown", "/nfs/runs/unknown"),
    ],
)
def test_a_run_is_named_as_the_head_finds_it(text: str, found: str, stopped: str) -> None:
    assert there(PLACES, text) == found
    assert there(PLACES, text, to_stop=True) == stopped


def job(name: str, status: str, start: int, code: int | None = None, at: str | None = None) -> SimpleNamespace:
    metadata = {"run": name, "at": at or name}
    return SimpleNamespace(
        submission_id=f"{name}-{start}", status=status, start_time=start, driver_exit_code=code, metadata=metadata
    )


def jobs(*listed: SimpleNamespace) -> Jobs:
    made = object.__new__(Jobs)  # without a cluster
    made.address, made.client = "http://head", SimpleNamespace(list_jobs=lambda: listed)
    return made


def test_the_job_that_lives_is_that_of_the_run_and_one_that_was_refused_is_the_last() -> None:
    listed = [
        job("r", "FAILED", 5, 2, at="/elsewhere/r"), job("r", "SUCCEEDED", 3), job("r", "RUNNING", 1),
        job("other", "RUNNING", 9), SimpleNamespace(submission_id="fetch", metadata=None),
    ]  # fmt: skip
    assert [one.submission_id for one in jobs(*listed).of("r")] == ["r-1", "r-3", "r-5"]
    assert jobs(*listed).places() == {"r": "r", "other": "other"}


def test_a_dashboard_that_does_not_answer_is_said_to_be_one() -> None:
    def broken(*words: object) -> None:
        raise RuntimeError("Request failed with status code 500")

    made = jobs()
    made.client = SimpleNamespace(list_jobs=broken, get_job_info=broken)
    for call in (lambda: made.of("r"), made.places, lambda: made.info("r-1")):
        with pytest.raises(ClusterError, match="http://head does not answer as one"):
            call()


def test_a_job_takes_neither_other_settings_nor_events_while_it_runs() -> None:
    running = SimpleNamespace(entrypoint="python -m tuner --space mine.yaml --name r")
    with pytest.raises(UserError, match="--json: must be given when a run begins"):
        _refuse_late(running, "r", [], json=True)
    with pytest.raises(UserError, match="--set: must be given when r stands still"):
        _refuse_late(running, "r", ["budget.trials=9"], json=False)
    _refuse_late(SimpleNamespace(entrypoint=f"{running.entrypoint} --json"), "r", [], json=True)


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [("SUCCEEDED", 0, 0), ("FAILED", 1, 1), ("FAILED", 3, 3), ("FAILED", 130, 130), ("STOPPED", None, 130)],
)
def test_a_job_ends_with_the_code_of_its_driver(status: str, code: int | None, told: int) -> None:
    assert _code(SimpleNamespace(status=status, driver_exit_code=code, message="")) == told


@pytest.mark.parametrize("code", [None, -9, 137])
def test_a_driver_that_was_killed_is_an_error_of_the_cluster(code: int | None) -> None:
    with pytest.raises(ClusterError, match="driver has died"):
        _code(SimpleNamespace(status="FAILED", driver_exit_code=code, message=""))


def test_events_go_to_stdout_and_all_else_aside(capsys: pytest.CaptureFixture[str]) -> None:
    write = printer(json=True)
    for piece in ("Run r: 2 tri", 'als\n{"event": "rep', 'ort"}\nBest loss\n'):
        write(piece)
    said = capsys.readouterr()
    assert (said.out, said.err) == ('{"event": "report"}\n', "Run r: 2 trials\nBest loss\n")


def test_links_and_pipes_stay_where_they_are(tmp_path: Path) -> None:
    run = tmp_path / "r"
    (run / "trials" / "t0000" / "checkpoints").mkdir(parents=True)
    (run / "ledger").write_text("line\n")
    (run / "trials" / "t0000" / "log.txt").write_text("said")
    (run / "trials" / "t0000" / "data").symlink_to("/data")
    os.mkfifo(run / "trials" / "t0000" / "pipe")
    pack(run, tmp_path / "r.tar.gz")
    with tarfile.open(tmp_path / "r.tar.gz") as packed:
        names = {Path(name).name for name in packed.getnames()}
        packed.extractall(tmp_path / "there", filter="data")
    assert names == {"r", "ledger", "trials", "t0000", "log.txt"}


def test_what_a_user_calls_like_a_file_of_the_run_is_packed(tmp_path: Path) -> None:
    run = tmp_path / "r"
    mine = ["best/files/checkpoints/1.pt", "trials/t0000/media/lock", "trials/t0000/asked", "trials/t0000/reserve/x"]
    for name in mine:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("the user's")
    for name in ("lock", "reserve", "asked/all", "stopping", "ray/x", ".probe", "trials/t0000/checkpoints/a/model.pt",
                 "trials/t0000/lock", "trials/t0000/stopping"):  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("the run's")
    pack(run, tmp_path / "r.tar.gz")
    with tarfile.open(tmp_path / "r.tar.gz") as packed:
        assert {entry.name for entry in packed if entry.isfile()} == {f"r/{name}" for name in mine}


def test_a_best_that_is_fetched_again_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, packed = tmp_path / "there" / "r", tmp_path / "packed.tar.gz"
    monkeypatch.setattr(fetch, "_packed", lambda jobs, run: {"folder": str(there)})
    monkeypatch.setattr(fetch, "_download", lambda jobs, told, target: target.write_bytes(packed.read_bytes()))

    def fetched(*names: str) -> set[str]:
        for name in ("ledger", *names):
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            (there / name).write_text("header\n")
        pack(there, packed)
        target = fetch.fetch(jobs(), "r", tmp_path)
        return {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}

    assert "best/model.pt2" in fetched("best/model.pt2", "best/files/old", "tensorboard/t0000/events.1")
    (tmp_path / "r" / "notes.txt").write_text("the user's own")
    shutil.rmtree(there)
    assert fetched("best/model.pt", "tensorboard/t0000/events.2") == {
        "ledger", "best/model.pt", "tensorboard/t0000/events.2", "notes.txt",
    }  # fmt: skip


def test_a_page_is_packed_under_a_name_that_tells_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack_page([str(ROOT / "tests" / "frozen" / "v1")], tmp_path / "packed.tar.gz") == "v1-report.html"
    assert capsys.readouterr().out.startswith("v1: ")
    with tarfile.open(tmp_path / "packed.tar.gz") as packed:
        assert packed.getnames() == ["v1-report.html"]
        packed.extractall(tmp_path, filter="data")
    assert "All trials" in (tmp_path / "v1-report.html").read_text()


class Head:
    """A cluster whose only job packs a page, as `tuner.remote.pack` does."""

    def __init__(self, home: Path, code: int = 0) -> None:
        self.home, self.code, self.asked = home, code, list[list[str]]()

    def places(self) -> dict[str, str]:
        """Know no run by another name."""
        return {}

    def submit(self, words: list[str], title: str, folder: None, metadata: dict[str, str]) -> str:
        """Remember what is asked."""
        self.asked.append(words)
        return title

    def follow(self, jobs: Head, job: str, write: Callable[[str], None]) -> int:
        """Say what the job says."""
        write("r: 2 trials\npac")
        if not self.code:
            packed = self.home / "packed.tar.gz"
            (self.home / "r-report.html").write_text("page")
            with tarfile.open(packed, "w:gz") as archive:
                archive.add(self.home / "r-report.html", arcname="r-report.html")
            write(f"ked: {json.dumps({'folder': '/there/r-report.html', 'size': packed.stat().st_size})}\n")
        return self.code

    def download(self, jobs: Head, told: dict[str, object], target: Path) -> None:
        """Hand out what was packed."""
        target.write_bytes((self.home / "packed.tar.gz").read_bytes())


@pytest.mark.parametrize("code", [0, 2])
def test_one_job_prints_what_a_run_found_and_makes_its_page(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    head = Head(tmp_path / "there", code)
    monkeypatch.setattr(commands, "Jobs", lambda address: head)
    monkeypatch.setattr(fetch, "follow", head.follow)
    monkeypatch.setattr(fetch, "_download", head.download)
    assert commands.report("http://head", ["r"]) == code
    said = capsys.readouterr()
    assert said.out == "r: 2 trials\n"
    assert said.err == ("Fetched:      r-report.html\n" if not code else "")
    assert head.asked == [["tuner.remote.pack", "--page", "r"]]
    assert Path("r-report.html").exists() == (not code)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError(errno.ENOSPC, "No space left"), "Make room there."),
        (PermissionError(errno.EACCES, "Permission denied"), "Call it from a folder that may be written."),
        (tarfile.ReadError("not a gzip file"), "Mend that, and call it again."),
    ],
)
def test_a_page_that_cannot_be_fetched_is_told_in_a_line(
    error: Exception, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: object) -> None:
        raise error

    monkeypatch.setattr(commands, "Jobs", lambda address: Head(tmp_path))
    monkeypatch.setattr(commands, "fetch_page", broken)
    with pytest.raises(ClusterError, match=f"the page could not be fetched: .*{fix}"):
        commands.report("http://head", ["r"])
