"""How the process of a trial is made: forked from a zygote, or, where a fork is not safe, started anew."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import tuner
from tuner.slot.code import Code
from tuner.slot.process import Child, Event, ending, failure
from tuner.trial import Assignment
from tuner.trial.ranks import DEVICES

BOOT = "import sys; sys.path[0] = sys.argv[1]; import runpy; runpy.run_module('tuner.slot.zygote', run_name='__main__')"


class Lost(Exception):
    """The process that trials are forked from is gone, and they with it."""


class Refused(Exception):
    """The machine has no room for one more process now."""


class Launcher(Protocol):
    """Makes the processes of one slot's trials."""

    wakes: Sequence[Connection]
    """What becomes readable when a process has ended."""
    tick: float
    """Seconds after which to look whether it has ended all the same."""
    ready: bool
    """It can launch at once."""

    @property
    def usable(self) -> bool:
        """Tell whether it can launch now or later."""
        ...

    def news(self, seconds: float) -> Event | None:
        """Wait for the word that it is ready, has failed, or was lost."""
        ...

    def launch(self, assignment: Assignment) -> Child:
        """Start a trial; raises Lost or Refused."""
        ...

    def status(self, child: Child, seconds: float) -> int | None:
        """Wait for the end of a trial's process; raises Lost."""
        ...

    def anew(self, ready: Event | None = None) -> Launcher:
        """Make its successor, where it is lost or, by what it said, cannot be forked."""
        ...

    def close(self) -> None:
        """Leave nothing running."""
        ...


class Zygote:
    """A process that has imported the user's module, or with `bare` these modules alone; trials are forked from it."""

    tick = 60.0

    def __init__(self, code: Code, cpus: int, bare: Sequence[str] | None = None) -> None:
        self.code, self.cpus, self.bare = code, cpus, bare
        self.ready = self.failed = False
        self._ended: dict[int, int] = {}
        """Processes that have ended, and how, until they are asked for."""
        self._process, self._control = self._open()
        self.wakes: Sequence[Connection] = [self._control]

    def _open(self) -> tuple[subprocess.Popen[bytes] | None, Connection]:
        mode = ["import"] if self.bare is None else ["bare", *self.bare]
        return spawn(self.code, self.cpus, mode)

    @property
    def usable(self) -> bool:
        """Tell whether it lives and has imported all, as far as is known."""
        return not self.failed and (self._process is None or self._process.poll() is None)

    def news(self, seconds: float) -> Event | None:
        """Wait for the word that it is ready, has failed, or was lost."""
        if not self._control.poll(seconds):
            return None
        try:
            message: Event = self._control.recv()
        except (EOFError, OSError):
            message = self._died()
        self.failed, self.ready = message["event"] != "ready", message.get("forkable", False)
        return message

    def launch(self, assignment: Assignment) -> Child:
        """Fork a trial; raises Lost or Refused."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                self._control.send(order(assignment))
                reduction.send_handle(self._control, theirs.fileno(), 0)
            except OSError:
                raise self._lost() from None
            answer = self._hear("forked", "refused")
            if answer["event"] == "refused":
                raise Refused(f"its process could not be forked: {answer['reason']}")
            pid = answer["pid"]
            self._ended.pop(pid, None)  # of one that had the same number, and was never asked for
            return Child(pid, Connection(ours.detach()))

    def status(self, child: Child, seconds: float) -> int | None:
        """Wait for the end of a trial's process; raises Lost."""
        deadline = time.monotonic() + seconds
        while child.pid not in self._ended and self._control.poll(max(0.0, deadline - time.monotonic())):
            self._hear("exited")
        return self._ended.pop(child.pid, None)

    def anew(self, ready: Event | None = None) -> Launcher:
        """Make its successor: its like, or where it cannot be forked one that imports less, at last none at all."""
        self.close()
        if ready is None:
            return Zygote(self.code, self.cpus, self.bare)
        if self.bare is None:
            return Zygote(self.code, self.cpus, ["torch"] if ready["torch"] else [])
        return Fresh(self.code, self.cpus)

    def close(self) -> None:
        """Kill it, and with it by the kernel's hand what was forked from it."""
        self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _died(self) -> Event:
        """Make the event of its end while it imported.

        SIGKILL comes from outside. How one of somebody else's ended is not known: its successor is the slot's own, and
        where the import itself is what ended it, ends in the same way and says so.
        """
        reason = f"{self._end()} while it imported the trainable"
        if self._process is None or self._process.returncode == -signal.SIGKILL:
            return {"event": "lost", "reason": reason, "cause": "worker"}
        return failure(reason)

    def _end(self) -> str:
        return ending(self._process.wait()) if self._process is not None else "it answers no more"

    def _hear(self, *events: str) -> Event:
        """Wait for one of these; who has ended meanwhile is remembered, since a trial may have several processes."""
        while True:
            try:
                message: Event = self._control.recv()
            except (EOFError, OSError):
                raise self._lost() from None
            if message["event"] == "exited":
                self._ended[message["pid"]] = int(message["status"])
            if message["event"] in events:
                return message

    def _lost(self) -> Lost:
        self.failed = True
        return Lost(f"the process that it was forked from is gone: {self._end()}")


class Shared(Zygote):
    """The same for all slots of a machine: a zygote that somebody else has started, see `tuner.slot.shared`."""

    def __init__(self, code: Code, cpus: int, address: str) -> None:
        self.address = address
        super().__init__(code, cpus)

    def _open(self) -> tuple[None, Connection]:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        return None, Connection(connection.detach())


def zygote(code: Code, cpus: int, address: str | None) -> Zygote:
    """Use the shared zygote where there is one that answers, else start one."""
    if address is not None:
        with contextlib.suppress(OSError):
            return Shared(code, cpus, address)
    return Zygote(code, cpus)


class Fresh:
    """Starts a Python process for each trial: slower by the imports, and never wrong."""

    wakes: Sequence[Connection] = ()
    tick = 0.05
    ready = usable = True

    def __init__(self, code: Code, cpus: int) -> None:
        self.code, self.cpus = code, cpus
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def news(self, seconds: float) -> Event | None:
        """Be ready."""
        return {"event": "ready", "forkable": True}

    def launch(self, assignment: Assignment) -> Child:
        """Start a trial."""
        process, connection = spawn(self.code, self.cpus, ["once"])
        self._processes[process.pid] = process
        with contextlib.suppress(OSError):  # it died at once: its status tells
            connection.send(order(assignment))
        return Child(process.pid, connection)

    def status(self, child: Child, seconds: float) -> int | None:
        """Wait for the end of a trial's process."""
        try:
            status = self._processes[child.pid].wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        del self._processes[child.pid]
        return status

    def anew(self, ready: Event | None = None) -> Launcher:
        """Stay as it is."""
        return self

    def close(self) -> None:
        """Leave nothing running: there is nothing between two trials."""


def spawn(
    code: Code, cpus: int, mode: Sequence[str], hand_down: Sequence[int] = ()
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a Python process that begins in `zygote.start`; returns it and our end of a connection to it."""
    home = str(Path(tuner.__file__).parent.parent)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT, home, str(os.getpid()), str(theirs.fileno()), *mode],
            env=_environment(cpus), pass_fds=[theirs.fileno(), *hand_down], stdin=subprocess.DEVNULL,
            cwd=code.cwd if Path(code.cwd).exists() else None,
            start_new_session=mode[0] != "once",  # away from Ctrl-C; a trial makes a session of its own
        )  # fmt: skip
        connection = Connection(ours.detach())
    with contextlib.suppress(OSError):  # it died at once: its status tells
        connection.send(code)
    return process, connection


def order(assignment: Assignment) -> tuple[Assignment, str, dict[str, str]]:
    """Say what a process is to do: the assignment, its log file, and which devices it may see."""
    if assignment.gpus:
        told = {name: os.environ[name] for name in DEVICES if name in os.environ}
        environment = {name: _of_rank(devices, assignment) for name, devices in told.items()}
    else:
        environment = dict.fromkeys(DEVICES, "")  # it sees none, whatever its worker was told
    return assignment, str(assignment.folder / log_name(assignment.rank)), environment


def log_name(rank: int) -> str:
    """Name the file that takes what a rank prints."""
    return f"log.rank{rank}.txt" if rank else "log.txt"


def _of_rank(devices: str, assignment: Assignment) -> str:
    """Give a rank its part of the trial's devices: it knows of no others, and its first is `cuda:0`."""
    listed, each = devices.split(","), int(assignment.gpus)
    return ",".join(listed[assignment.rank * each :][:each]) if assignment.ranks > 1 else devices


def _environment(cpus: int) -> dict[str, str]:
    threads = {f"{name}_NUM_THREADS": str(cpus) for name in ("OMP", "MKL")}
    # OpenBLAS and pyarrow (which pandas and scikit-learn import) start threads when they are imported, and a process
    # with threads cannot be forked safely. The order of sets of strings would vary from zygote to zygote.
    ours = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    default = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "PYTHONHASHSEED": "0"}
    return {**default, **os.environ, **threads, **ours}
