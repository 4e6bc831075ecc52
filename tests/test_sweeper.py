"""What a driver that leaves at once leaves behind: nothing, also where it is just starting something."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hosts import kill, spelled
from support import ROOT, wait_for

from tuner.engine import sweeper

LEAVES = """
import subprocess, sys, time
from tuner.engine import sweeper
sweeper.leave_behind([sys.argv[1]])
end = time.monotonic() + 1
while time.monotonic() < end:
    subprocess.Popen([sys.executable, "-c", {spawner!r}, sys.argv[1]])
    time.sleep(0.1)
raise SystemExit(7)
"""
"""It starts more for a second after it has left the sweeper behind, and each of those starts more."""
SPAWNER = """
import subprocess, sys, time
for _ in range(20):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", sys.argv[1]])
    time.sleep(0.05)
"""
ABANDONS = """
import pathlib, subprocess, sys
from tuner.engine import own, sweeper
from tuner.storage import machine
scratch = machine.scratch()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(scratch), sys.argv[1]])
def refuse(starts):
    raise OSError("no room")
if {alone}:
    sweeper.leave_behind = refuse
own.abandon(pathlib.Path(sys.argv[1]), 7)
"""

WORKER = """
import os, pathlib, sys, time
pathlib.Path("/proc/self/comm").write_text("ray::Worker")
opened = os.open(sys.stdin.readline().strip(), int(sys.argv[1]))
print("opened", flush=True)
time.sleep(60)
"""


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Path]:
    """Have a folder that command lines name; whoever does so at the end is killed."""
    yield tmp_path
    kill(naming(tmp_path))


def test_nothing_lives_on_though_more_is_being_started(named: Path) -> None:
    assert leaves(LEAVES.format(spawner=SPAWNER), named) == 7
    wait_for(lambda: not naming(named), 60)


@pytest.mark.parametrize("alone", [False, True])
def test_nothing_lives_on_where_no_other_process_can_be_started_either(named: Path, alone: bool) -> None:
    assert leaves(ABANDONS.format(alone=alone), named) == 7
    wait_for(lambda: not naming(named), 60)


@pytest.mark.parametrize(("flags", "is_found"), [(os.O_WRONLY, True), (os.O_RDONLY, False)])
def test_a_worker_belongs_to_the_ray_that_it_writes_logs_for_not_to_the_one_that_it_cleans_up_after(
    tmp_path: Path, flags: int, is_found: bool
) -> None:
    opened = tmp_path / "log.out" if is_found else tmp_path
    (tmp_path / "log.out").touch()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(flags)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write(f"{opened}\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "opened\n"
            assert (worker.pid in sweeper.processes([str(tmp_path)])) is is_found
        finally:
            worker.kill()


def leaves(code: str, folder: Path) -> int:
    """Run a driver; returns its exit code."""
    return subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, timeout=60).returncode


def naming(folder: Path) -> list[psutil.Process]:
    """Find the processes whose command lines name a folder."""
    return [process for process in psutil.process_iter() if str(folder) in spelled(process)]
