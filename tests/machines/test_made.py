"""What makes the machines, where no machine is needed for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machines.made import Machines, is_left

DEAD = "999999999"


@pytest.mark.parametrize(
    ("name", "ours", "left"),
    [
        (f"mb{DEAD}", r"mb(\d+)", True),
        ("mbPID", r"mb(\d+)", False),
        ("mbackup", r"mb(\d+)", False),
        (f"mb{DEAD}x", r"mb(\d+)", False),
        (f"m{DEAD}-2", r"m(\d+)-\d+", True),
        ("mPID-2", r"m(\d+)-\d+", False),
        ("my-vpn", r"m(\d+)-\d+", False),
        (f"m{DEAD}-2-of-others", r"m(\d+)-\d+", False),
    ],
)
def test_only_what_dead_tests_left_is_swept(name: str, ours: str, left: bool) -> None:
    assert is_left(name.replace("PID", str(os.getpid())), ours) is left


def test_a_machine_that_cannot_be_reached_is_no_silent_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = tmp_path / "ssh"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    ssh.write_text("#!/bin/sh\necho no route >&2; exit 255\n")
    ssh.chmod(0o755)
    machines = Machines(tmp_path, tmp_path, [])
    with pytest.raises(OSError, match=r"no ssh to .*: no route"):
        machines.ssh(0, "pgrep raylet")
    ssh.write_text("#!/bin/sh\nexit 1\n")
    assert machines.ssh(0, "pgrep raylet") == "", "the command's own failure is an answer"
