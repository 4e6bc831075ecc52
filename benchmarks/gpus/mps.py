"""NVIDIA's Multi-Process Service, started for this benchmark alone: a folder of its own, and it is quit in the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
PATIENCE = 8.0
"""Seconds that it gets to quit."""
WITHOUT = {"CUDA_MPS_PIPE_DIRECTORY": "/nonexistent/mps"}
"""An environment in which CUDA finds no daemon, though one may run on this machine for others."""


class Daemon:
    """The control daemon: it may not be there, not start, or not serve; `problem` says which."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.problem = ""

    @property
    def runs(self) -> bool:
        """Tell whether it was started."""
        return self.folder is not None

    @property
    def environment(self) -> dict[str, str]:
        """Give what makes a process its client."""
        return {"CUDA_MPS_PIPE_DIRECTORY": str(self.folder), "CUDA_MPS_LOG_DIRECTORY": str(self.folder)}

    def start(self) -> None:
        """Start it, if it is there."""
        if shutil.which(CONTROL) is None:
            self.problem = f"{CONTROL} is not on this machine"
            return
        self.folder = Path(tempfile.mkdtemp(prefix="mps-", dir="/tmp"))  # short: a socket's path has some 100 letters
        log = self.folder / "start.log"
        try:
            # Into a file: the daemon might keep a pipe open, and its reader would wait for the end.
            with log.open("w") as said:
                begun = subprocess.run(
                    [CONTROL, "-d"], env=self._all_gpus(), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                    timeout=20, check=False,
                )  # fmt: skip
            if begun.returncode:
                self.problem = f"{CONTROL} -d: exit code {begun.returncode}: {log.read_text().strip()}"
        except (OSError, subprocess.TimeoutExpired) as error:
            self.problem = f"{CONTROL} -d: {error}"
        if self.problem:
            self.stop()

    def serves(self) -> bool:
        """Tell whether it has a server, which it starts for its first client."""
        return any(word.isdigit() for word in self._ask("get_server_list").split())

    def stop(self) -> None:
        """Quit it, and kill it by its id if it does not."""
        if self.folder is None:
            return
        pid = self._pid()
        self._ask("quit -t 5")
        if pid is not None:
            _kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    def _all_gpus(self) -> dict[str, str]:
        """Leave out a choice of GPUs by number: daemon and clients would each count from 0 within what they get."""
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return {**(kept if chosen.replace(",", "").isdigit() else os.environ), **self.environment}

    def _ask(self, what: str) -> str:
        try:
            return subprocess.run(
                [CONTROL], env={**os.environ, **self.environment}, input=f"{what}\n",
                capture_output=True, text=True, timeout=20, check=False,
            ).stdout  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""

    def _pid(self) -> int | None:
        assert self.folder is not None
        try:
            return int((self.folder / f"{CONTROL}.pid").read_text())
        except (OSError, ValueError):
            return None


def _kill(pid: int) -> None:
    """Give it some seconds to go, then kill it."""
    until = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.2)
    with contextlib.suppress(OSError):
        if CONTROL[:15] in Path(f"/proc/{pid}/comm").read_text():  # not another that has got its id meanwhile
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def served(wanted: bool) -> Iterator[Daemon]:
    """Have the daemon for a while, where it is wanted and there."""
    daemon = Daemon()
    if wanted:
        daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
