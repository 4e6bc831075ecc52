"""A Ray of our own: its folder, its processes, and its end, whatever state it is in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tuner.storage.machine import mark, scratches

VITAL = ("gcs_server", "raylet")


def dead() -> list[str]:
    """Name the processes of a Ray of our own that it cannot do without, and that are dead."""
    import ray

    node = ray._private.worker._global_node
    known = {} if node is None else node.all_processes
    return [name for name in VITAL for one in known.get(name, ()) if one.process.poll() is not None]


def abandon(keep_logs: Path, code: int) -> None:
    """End this process, and with it a Ray of our own, whatever state it is in; its folder is swept by the next run."""
    found: list[int] = []
    for scratch in scratches(f"{mark(os.getpid())}-"):
        keep(scratch, keep_logs)
        found += processes(scratch)
    # In one go: a main thread that is just calling Ray might not let this one run again once Ray is dead.
    sys.setswitchinterval(60)
    kill(found)
    os._exit(code)


def processes(scratch: Path) -> list[int]:
    """Find the processes of a Ray of our own: they name its folder, or have Ray's names and write their logs there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(scratch).encode() in (process / "cmdline").read_bytes()
            if named or ((process / "comm").read_text().startswith("ray::") and _writes_into(process, scratch)):
                found.append(int(process.name))
    return found


def kill(processes: Sequence[int]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _writes_into(process: Path, folder: Path) -> bool:
    return any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())


def keep(scratch: Path, folder: Path) -> None:
    for logs in scratch.glob("session_2*/logs"):
        with contextlib.suppress(OSError, shutil.Error):  # logs are not worth an error of their own
            shutil.copytree(logs, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("old", "tuner"))
