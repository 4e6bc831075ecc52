"""Temporary folders that bear the name of their machine and process, by which what is left of a dead one is deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.storage import machine


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a temporary folder of the test's own, beside another one for what needs a short name."""
    (tmp_path / "usual").mkdir()
    (tmp_path / "short").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "usual"))
    monkeypatch.setattr(machine, "SHORT", str(tmp_path / "short"))
    return tmp_path / "usual"


@pytest.fixture(scope="module")
def dead() -> int:
    """Name a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_a_dead_process_of_this_machine_has_left_is_deleted(
    shared: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = machine.scratch()
    for left in (f"{machine.mark(dead)}-x", f"{machine.mark(dead)}-ranks-x", machine.mark(dead)):
        (shared / left / "session").mkdir(parents=True)
    (shared / f"{machine.mark(dead)}-x.json").symlink_to(shared / "nowhere")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "this_machine", lambda: "another container, where that process may live")
        theirs = shared / f"{machine.mark(dead)}-x"
    strangers = [theirs, shared / f"tuner-{dead}-x", shared / "tuner-local-x"]
    for folder in strangers:
        folder.mkdir()
    machine.sweep()
    assert sorted(shared.iterdir()) == sorted([mine, *strangers])


def test_the_names_leave_room_for_the_sockets_of_ray(shared: Path) -> None:
    longest = "session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store.99"
    name = machine.scratch().name.replace(str(os.getpid()), "4194304")
    assert len(f"/tmp/{name}/{longest}") <= 103, "107 on Linux, 103 on macOS"


def test_where_the_usual_folder_has_no_room_for_a_socket_a_short_one_is_taken_and_swept(
    shared: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = shared.parent / "short"
    (short / f"{machine.mark(dead)}-x").mkdir()
    made = machine.scratch(socket="s" * machine.LONGEST)
    assert list(short.iterdir()) == [made], "what a dead process had there is deleted"
    assert machine.scratches(machine.mark(os.getpid())) == [made]
    monkeypatch.setattr(machine, "LONGEST", len(str(shared / made.name)) + 2)
    assert machine.scratch(socket="s").parent == shared
    assert machine.scratch(socket="ss").parent == short
