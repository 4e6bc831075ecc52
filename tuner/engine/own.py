"""A Ray of our own: its folder, what it cannot do without, and its end, whatever state it is in."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

from tuner.engine import sweeper
from tuner.storage.machine import beginnings, mark, scratches

VITAL = ("gcs_server", "raylet")


def dead() -> list[str]:
    """Name the processes of a Ray of our own that it cannot do without, and that are dead."""
    import ray

    node = ray._private.worker._global_node
    known = {} if node is None else node.all_processes
    return [name for name in VITAL for one in known.get(name, ()) if one.process.poll() is not None]


def abandon(keep_logs: Path, code: int) -> None:
    """End this process, and with it a Ray of our own, whatever state it is in; the next run deletes its folder."""
    try:
        for scratch in scratches(f"{mark(os.getpid())}-"):
            keep(scratch, keep_logs)
        starts = beginnings(os.getpid())
        with contextlib.suppress(OSError):  # there is no room for another process
            sweeper.leave_behind(starts)
        found = sweeper.processes(starts)
        # In one go: a main thread that is just calling Ray might not let this one run again once Ray is dead.
        sys.setswitchinterval(60)
        sweeper.kill(found)
    finally:
        os._exit(code)


def keep(scratch: Path, folder: Path) -> None:
    for logs in scratch.glob("session_2*/logs"):
        with contextlib.suppress(OSError, shutil.Error):  # logs are not worth an error of their own
            shutil.copytree(logs, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("old", "tuner"))
