"""What a driver that leaves at once leaves behind: nothing, also where it is just starting something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
from support import ROOT, wait_for

DRIVER = """
import os, pathlib, subprocess, sys
from tuner.engine import sweeper
scratch = pathlib.Path(sys.argv[1])
started = subprocess.Popen([sys.executable, "-c", {spawner!r}, str(scratch)])
while not (scratch / "3").exists():
    pass
sweeper.leave_behind([scratch])
os._exit(7)
"""
SPAWNER = """
import pathlib, subprocess, sys, time
for i in range(1000):
    child = ["import time; time.sleep(1000)", sys.argv[1]]
    subprocess.Popen([sys.executable, "-c", *child])
    pathlib.Path(sys.argv[1], str(i)).touch()
"""


def test_nothing_lives_on_though_more_is_being_started(tmp_path: Path) -> None:
    driver = [sys.executable, "-c", DRIVER.format(spawner=SPAWNER), str(tmp_path)]
    assert subprocess.run(driver, cwd=ROOT, timeout=60).returncode == 7
    wait_for(lambda: not naming(tmp_path), 20)
    assert len(list(tmp_path.iterdir())) >= 3


def naming(folder: Path) -> list[int]:
    """Find the processes whose command lines name a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
