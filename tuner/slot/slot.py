"""A slot: it runs one trial after another, each in a process of its own, and always answers within a second."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import tuner
from tuner.slot.code import Code
from tuner.trial import Assignment

Event = dict[str, Any]
"""`event` is beat, report, returned, tested or failed; the rest depends on it."""
BEAT_SECONDS = 1.0
EXIT_SECONDS = 5.0
"""How long a function that has had its last report may take to return."""
BOOT = "import sys; sys.path[0] = sys.argv[3]; import runpy; runpy.run_module('tuner.slot.zygote', run_name='__main__')"


class Slot:
    """Runs assignments one after the other: `begin`, `step` until an end, `begin` again; at last `close`."""

    def __init__(self, code: Code, cpus: int = 1) -> None:
        self.code, self.cpus = code, cpus
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Connection
        self._ready = False
        self._assignment: Assignment | None = None
        self._connection: Connection | None = None
        self._pid: int | None = None
        self._waits_for_go = False
        self._ended: Event | None = None
        self._may_leave = False
        self._start_zygote()

    def begin(self, assignment: Assignment) -> None:
        """Take on an assignment; whatever ran before is gone when this returns."""
        self._finish_child()
        assignment.folder.mkdir(parents=True, exist_ok=True)
        self._assignment, self._ended, self._may_leave, self._waits_for_go = assignment, None, False, False
        if self._process is None or self._process.poll() is not None:
            self._start_zygote()
        if self._ready:
            self._fork()

    def step(self) -> Event:
        """Let the trial go on and wait for what comes next, a second at most (then `beat`)."""
        if self._ended is not None:
            return self._ended
        if not self._ready and not self._await_ready():
            return self._ended or {"event": "beat"}
        assert self._connection is not None
        if self._waits_for_go:
            self._waits_for_go = False
            with contextlib.suppress(OSError):
                self._connection.send("go")
        return self._await_event()

    def close(self) -> None:
        """End the trial and the zygote."""
        self._assignment = None
        self._finish_child()
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_zygote(self) -> None:
        ours, theirs = socket.socketpair()
        home = str(Path(tuner.__file__).parent.parent)
        threads = {f"{name}_NUM_THREADS": str(self.cpus) for name in ("OMP", "MKL")}
        # OpenBLAS starts its threads when numpy is imported, and a process with threads cannot be forked safely.
        env = {**os.environ, **threads, "OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        command = [sys.executable, "-c", BOOT, str(theirs.fileno()), pickle.dumps(self.code).hex(), home]
        self._process = subprocess.Popen(
            command, env=env, pass_fds=[theirs.fileno()], cwd=self.code.cwd if Path(self.code.cwd).exists() else None,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._control = Connection(ours.detach())
        self._ready = False

    def _await_ready(self) -> bool:
        if not self._control.poll(BEAT_SECONDS):
            return False
        try:
            message = self._control.recv()
        except (EOFError, OSError):
            message = _crash(self._process.wait() if self._process else 1, "while it imported the trainable")
        if message["event"] == "failed":
            self._ended = message
            return False
        self._ready = True
        self._fork()
        return True

    def _fork(self) -> None:
        assert self._assignment is not None and self._process is not None
        ours, theirs = socket.socketpair()
        self._control.send((self._assignment, str(self._assignment.folder / "log.txt")))
        reduction.send_handle(self._control, theirs.fileno(), self._process.pid)
        theirs.close()
        self._connection = Connection(ours.detach())
        self._pid = self._control_says("forked")["pid"]

    def _control_says(self, event: str) -> Event:
        while (message := self._control.recv())["event"] != event:
            pass
        return dict(message)

    def _await_event(self) -> Event:
        assert self._connection is not None
        deadline = time.monotonic() + BEAT_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            ready = wait([self._connection, self._control], left)
            if self._connection in ready:
                try:
                    return self._received(self._connection.recv())
                except (EOFError, OSError):
                    pass  # It died; the zygote says how.
            if ready:
                return self._exited(self._control_says("exited"))
        return {"event": "beat"}

    def _received(self, message: Event) -> Event:
        assert self._assignment is not None and self._connection is not None
        if message["event"] != "report":
            self._ended, self._may_leave = message, True
        elif message["epoch"] >= self._assignment.epochs:
            # The last one: nothing can be decided about this trial any more, so the function may return.
            self._may_leave = True
            self._connection.send("go")
        else:
            self._waits_for_go = True
        return message

    def _exited(self, message: Event) -> Event:
        self._pid = None
        self._ended = _crash(message["status"], "in the middle of the trial")
        return self._ended

    def _finish_child(self) -> None:
        """Let a process that is at its end leave by itself; kill any other, with its whole group."""
        if self._pid is not None:
            if not (self._may_leave and self._control.poll(EXIT_SECONDS)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, signal.SIGKILL)
            with contextlib.suppress(EOFError, OSError):
                self._control_says("exited")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)  # what it left behind in its group
            self._pid = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _crash(status: int, when: str) -> Event:
    if status >= 0:
        reason = f"its process ended with exit code {status} {when}"
    else:
        name = signal.Signals(-status).name
        why = " (perhaps by the kernel, for lack of memory)" if name == "SIGKILL" else ""
        reason = f"its process was killed by {name}{why} {when}"
    return {"event": "failed", "reason": reason, "error": "", "misuse": False}
