"""What several tests need to start the real command."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tuner import api
from tuner.core.records import Record, Report
from tuner.ledger import read

ROOT = Path(__file__).parent.parent
SPELLED = shlex.join(["python", str(ROOT / "launch.py")])
"""How the command, begun by `command`, tells people to call it again."""
IDLE = "RAY_prestart_worker_first_driver"


def environment() -> dict[str, str]:
    """Leave out what would lead a run to a cluster of somebody else; no Ray that is started shall have idle workers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {**kept, IDLE: "0"}


def command(*flags: str) -> list[str]:
    """Spell the command line as a user does."""
    return [sys.executable, str(ROOT / "launch.py"), *flags]


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def wait_for(condition: Callable[[], Any], seconds: float = 180) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def records(run: Path) -> list[Record]:
    """Read what a run has written so far, also where it has only begun."""
    return list(read(run)) if (run / "ledger").exists() else []


def reports(run: Path) -> list[Report]:
    """Read the reports of a run."""
    return [record for record in records(run) if isinstance(record, Report)]


def trained(run: Path) -> dict[str, list[int]]:
    """Read which epochs each trial trained, from the lines `trained EPOCH` that it printed."""
    logs = sorted((run / "trials").glob("*/log.txt"))
    lines = {log.parent.name: log.read_text().splitlines() for log in logs}
    return {name: [int(line.split()[1]) for line in said if line.startswith("trained")] for name, said in lines.items()}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of a size such as `24m` at a new folder; where that is not allowed the test is left out."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write into a file until there is no room on its disk."""
    try:
        with path.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
    except OSError:
        pass


def decided_alike(run: Path) -> None:
    """Decide all of a run anew, as `--resume RUN --check` does, and find no difference."""
    found = api.audit(run)
    assert found.records and not found.difference, found
