"""A slot whose run is stored at a URL: what it fetches first, and what is there before its report is heard of."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.slot import remote, stint_files
from tuner.slot.slot import Slot
from tuner.storage.machine import mark, this_machine
from tuner.storage.url import Objects
from tuner.trial import Assignment

from .bench import Bench, eventually, hear, until_end
from .test_slot_takeover import COUNTS


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """Have a URL that other processes see too."""
    return Objects(f"file://{tmp_path}/objects")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a temporary folder of the test's own."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def stored(bench: Bench, objects: Objects, **more: Any) -> Assignment:
    given = {"judged_at": frozenset(), "epochs": 4, "machine": this_machine(), **more}
    return bench.assignment(storage=objects.url, **given)


def trained(objects: Objects) -> list[int]:
    lines = objects.get("trials/t0/log.txt").decode().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("trained")]


def checkpoints(objects: Objects) -> list[str]:
    return sorted({name.split("/")[3] for name in objects.list("trials/t0/checkpoints")})


@pytest.fixture(params=["here", "elsewhere"])
def place(request: pytest.FixtureRequest, bench: Bench, scratch: Path) -> str:
    """Work where the run's own folder is, or where there is none."""
    if request.param == "here":
        (bench.root / "run").mkdir()
    return str(request.param)


def test_a_checkpoint_is_there_before_its_report_is_heard_of(bench: Bench, objects: Objects, place: str) -> None:
    slot, given = bench.slot(COUNTS), stored(bench, objects)
    slot.begin(given)
    for epoch in range(1, 5):
        event = hear(slot)
        assert event["checkpoint"] == given.checkpoint_name(epoch)
        manifest = json.loads(objects.get(f"{event['checkpoint']}/manifest.json"))
        assert set(manifest["files"]) <= {Path(name).name for name in objects.list(event["checkpoint"])}
    assert hear(slot)["event"] == "returned"
    assert (bench.root / "run").exists() == (place == "here")
    slot.close()
    assert trained(objects) == [1, 2, 3, 4]


def test_it_leaves_nothing_on_another_machine(bench: Bench, objects: Objects, scratch: Path) -> None:
    slot = bench.slot(COUNTS)
    given = stored(bench, objects, judged_at=None)
    slot.begin(given)
    for _ in range(3):
        hear(slot)
    (folder,) = scratch.glob("tuner-*-scratch-*")
    kept = [path.name for path in folder.glob("1/trials/t0/checkpoints/*")]
    assert kept == [Path(given.checkpoint_name(3)).name], "those before it are at the URL"
    until_end(slot)
    slot.begin(stored(bench, objects, trial="t1"))
    until_end(slot)
    eventually(lambda: not (folder / "1").exists())
    slot.close()
    assert not folder.exists()


def test_what_a_killed_slot_left_is_swept(bench: Bench, objects: Objects, scratch: Path) -> None:
    old = scratch / f"{mark(999999999)}-scratch-x"
    old.mkdir()
    bench.run(bench.slot(COUNTS), stored(bench, objects))
    assert not old.exists()


def test_another_machine_goes_on_from_what_is_there(bench: Bench, objects: Objects, place: str, scratch: Path) -> None:
    given = stored(bench, objects)
    bench.run(bench.slot(COUNTS), replace(given, epochs=2))
    bench.slots.pop().close()
    shutil.rmtree(bench.root / "run", ignore_errors=True)
    if place == "here":
        (bench.root / "run").mkdir()
    again = replace(given, attempt="2.0", checkpoint=given.checkpoint_name(2), epoch=2)
    assert [event.get("epoch") for event in bench.run(bench.slot(COUNTS), again)] == [3, 4, None]
    bench.slots.pop().close()
    assert trained(objects) == [1, 2, 3, 4], "its log goes on too"


def test_epochs_that_were_saved_and_not_heard_of_are_taken_over(bench: Bench, objects: Objects, place: str) -> None:
    given = stored(bench, objects)
    bench.run(bench.slot(COUNTS), replace(given, epochs=3))
    bench.slots.pop().close()
    shutil.rmtree(bench.root / "run", ignore_errors=True)
    events = bench.run(bench.slot(COUNTS), replace(given, attempt="2.0"))
    assert [event.get("epoch") for event in events] == [1, 2, 3, 4, None]
    assert [event.get("inherited", False) for event in events] == [True, True, True, False, False]
    assert trained(objects) == [1, 2, 3, 4]


def test_what_belongs_to_a_forgotten_trial_of_the_same_name_is_not(bench: Bench, objects: Objects, place: str) -> None:
    given = stored(bench, objects)
    bench.run(bench.slot(COUNTS), replace(given, epochs=3))
    bench.slots.pop().close()
    events = bench.run(bench.slot(COUNTS), replace(given, attempt="2.0", since=2))
    assert [event.get("epoch") for event in events] == [1, 2, 3, 4, None]
    assert not any(event.get("inherited") for event in events)
    bench.slots.pop().close()
    if place == "elsewhere":
        assert trained(objects) == [1, 2, 3, 4], "its log is another's too"


def test_a_clone_starts_from_its_donors_checkpoint(bench: Bench, objects: Objects, scratch: Path) -> None:
    given = stored(bench, objects)
    bench.run(bench.slot(COUNTS), replace(given, epochs=2))
    bench.slots.pop().close()
    clone = stored(bench, objects, trial="t1", generation=1, checkpoint=given.checkpoint_name(2), epoch=2, cloned=True)
    events = bench.run(bench.slot(COUNTS), clone)
    assert [event["metrics"]["loss"] for event in events[:-1]] == [3, 4]


def test_a_checkpoint_that_is_gone_is_told(bench: Bench, objects: Objects, place: str, monkeypatch) -> None:
    slot = bench.slot(COUNTS)
    slot.begin(stored(bench, objects, checkpoint="trials/t0/checkpoints/g0_e0002_a1.0", epoch=2))
    event = hear(slot)
    assert event["event"] == "lost"
    assert "g0_e0002_a1.0: is not there" in event["reason"]


def test_a_folder_of_that_name_on_another_machine_is_not_touched(bench: Bench, objects: Objects, scratch: Path) -> None:
    (bench.root / "run").mkdir()
    (bench.root / "run" / "mine").touch()
    events = bench.run(bench.slot(COUNTS), stored(bench, objects, machine="another"))
    assert [event.get("epoch") for event in events] == [1, 2, 3, 4, None]
    assert [path.name for path in (bench.root / "run").iterdir()] == ["mine"]


def test_only_a_missing_checkpoint_counts(bench: Bench, objects: Objects, place: str, monkeypatch) -> None:
    monkeypatch.setattr(remote, "LONGEST_WAIT", 0.01)
    tries, get = [], stint_files.StintFiles._fetch_files

    def fetch_files(self: Any, listed: Any) -> None:
        tries.append(1)
        if len(tries) <= 2 * remote.MISSING_TRIES:
            raise FileNotFoundError("The specified bucket does not exist")
        get(self, listed)

    monkeypatch.setattr(stint_files.StintFiles, "_fetch_files", fetch_files)
    events = bench.run(bench.slot(COUNTS), stored(bench, objects, attempt="2.0"))
    assert [event.get("epoch") for event in events] == [1, 2, 3, 4, None]
    assert len(tries) > remote.MISSING_TRIES


def test_params_of_an_earlier_stint_do_not_come_back(bench: Bench, objects: Objects, place: str) -> None:
    trains = COUNTS.replace("def train(trial", "def train(trial, lr=0.0")
    bench.run(bench.slot(trains), stored(bench, objects, params={"lr": 0.123456789}, epochs=2))
    bench.slots.pop().close()
    bench.run(bench.slot(trains), stored(bench, objects, params={"lr": 0.1}, generation=1))
    bench.slots.pop().close()
    assert json.loads(objects.get("trials/t0/params.json")) == {"lr": 0.1}


def test_what_cannot_be_put_waits_and_is_told(bench: Bench, objects: Objects, place: str, tmp_path: Path) -> None:
    slot = bench.slot(COUNTS)
    slot.begin(stored(bench, objects, judged_at=None))
    hear(slot)
    (tmp_path / "objects").rename(tmp_path / "away")
    (tmp_path / "objects").write_text("in the way")
    eventually(lambda: slot.step().get("waits"))
    beat = slot.step()
    assert beat["event"] == "beat" and beat["silent"] == 0.0 and "objects" in beat["waits"]
    (tmp_path / "objects").unlink()
    (tmp_path / "away").rename(tmp_path / "objects")
    assert [event.get("epoch") for event in until_end(slot)] == [2, 3, 4, None]


def test_a_slot_that_waits_can_be_closed_and_begun_anew(bench: Bench, objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    slot: Slot = bench.slot(COUNTS)
    slot.begin(stored(bench, objects, trial="t1"))
    eventually(lambda: slot.step().get("waits"))
    (tmp_path / "objects").unlink()
    assert [event.get("epoch") for event in bench.run(slot, stored(bench, objects))] == [1, 2, 3, 4, None]


def test_a_missing_package_is_told_at_once(bench: Bench, objects: Objects) -> None:
    slot = bench.slot(COUNTS)
    slot.begin(replace(stored(bench, objects), storage="nonsense://a/b"))
    event = hear(slot)
    assert event["event"] == "lost" and "must be a URL that fsspec opens" in event["reason"]


def test_a_run_in_a_folder_has_nothing_to_do_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.Remote, "_do", lambda *job: pytest.fail("nothing is to be done"))
    bench.run(bench.slot(COUNTS), bench.assignment())
