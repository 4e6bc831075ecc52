"""The process that trials are forked from: it has imported what they need, has one thread and no CUDA context.

It is started by a slot as a plain Python process, so that trials inherit neither Ray's threads nor its `__main__`.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import io
import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tuner.slot import child
from tuner.slot.code import Code
from tuner.slot.imports import uncollected
from tuner.slot.process import STACKS
from tuner.trial import Assignment, randomness

PR_SET_PDEATHSIG = 1


def main(control_fd: int, code: Code, bare: Sequence[str] | None = None, listener: socket.socket | None = None) -> None:
    """Import, say so, and fork a child for each assignment until the slot is gone.

    It imports the user's module, or the modules of `bare` instead; then each child imports the user's. With a listener
    it serves all slots that connect.
    """
    control = Connection(control_fd)
    with uncollected():
        problem = child.import_problem(code) if bare is None else _import_all(bare)
        _warm_up()
        if bare is None and problem is None:
            problem = child.warm_up_problem(code)
    sys.stdout.flush()  # else each child would write it again
    sys.stderr.flush()
    greeting = problem or {"event": "ready", "forkable": forkable(), "torch": "torch" in sys.modules}
    control.send(greeting)
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that children share
    Server(code, greeting, control, listener).serve()


def once(connection_fd: int, code: Code) -> None:
    """Run one assignment in this very process: for platforms without a safe fork."""
    connection = Connection(connection_fd)
    assignment, log, environment = connection.recv()
    os.environ.update(environment)
    _become_trial(assignment, log)
    child.leave(child.run(code, assignment, connection))


def forkable() -> bool:
    """Tell whether a fork of this process would be whole: one thread, no CUDA context."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_initialized()
    return len(os.listdir("/proc/self/task")) == 1 and not cuda


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(1)


def _import_all(names: Sequence[str]) -> dict[str, Any] | None:
    for name in names:
        importlib.import_module(name)
    return None


def _warm_up() -> None:
    """Have torch do once what it puts off until the first step: it would cost each trial some seconds at worst.

    The first optimizer imports 800 modules; the first convolution, backward pass and save set up what all others use.
    """
    randomness.seed_all(0)  # numpy imports its generators at the first use
    if "torch" not in sys.modules:
        return
    import torch

    with contextlib.suppress(Exception):
        weight = torch.zeros(4, 1, 3, 3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        if torch.version.cuda is not None:
            return  # a backward pass would look for devices, which no fork outlives
        torch.set_num_threads(1)  # others would stay, and no fork outlives them either
        torch.nn.functional.conv2d(torch.zeros(2, 1, 8, 8), weight).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        torch.save(optimizer.state_dict(), io.BytesIO())


def _child_alarm() -> tuple[int, int]:
    """Make a pipe that wakes when a child ends; returns its read end and its write end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end, write_end


def _reap() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


class Server:
    """Forks what its slots ask for; what a slot asked for dies with that slot's connection."""

    def __init__(
        self, code: Code, greeting: dict[str, Any], control: Connection, listener: socket.socket | None
    ) -> None:
        self.code, self.greeting, self.control, self.listener = code, greeting, control, listener
        self.slots = [control]
        self.owners: dict[int, Connection] = {}
        """pid of a child → the slot that asked for it."""
        self.alarm, self.bell = _child_alarm()

    def serve(self) -> None:
        """Go on until whoever started this process is gone."""
        while self.control in self.slots:
            ready = wait([*self.slots, self.alarm, *([self.listener] if self.listener else [])])
            if self.alarm in ready:
                os.read(self.alarm, 512)
            if self.listener is not None and self.listener in ready:
                self._welcome(self.listener)
            for slot in [slot for slot in self.slots if slot in ready]:
                self._answer(slot)
            for pid, status in _reap():
                if (owner := self.owners.pop(pid, None)) is not None:  # else the user's module started it
                    self._tell(owner, {"event": "exited", "pid": pid, "status": status})

    def _welcome(self, listener: socket.socket) -> None:
        slot = Connection(listener.accept()[0].detach())
        self.slots.append(slot)
        self._tell(slot, self.greeting)

    def _answer(self, slot: Connection) -> None:
        try:
            assignment, log, environment = slot.recv()
            connection_fd = reduction.recv_handle(slot)
        except (EOFError, OSError):
            self._dismiss(slot)
            return
        try:
            pid = self._fork(connection_fd, assignment, log, environment)
        except OSError as error:  # no memory or no number for one more process: what runs already goes on
            self._tell(slot, {"event": "refused", "reason": str(error)})
            return
        finally:
            os.close(connection_fd)
        self.owners[pid] = slot
        self._tell(slot, {"event": "forked", "pid": pid})

    def _dismiss(self, slot: Connection) -> None:
        self.slots.remove(slot)
        slot.close()
        for pid in [pid for pid, owner in self.owners.items() if owner is slot]:
            for kill in (os.killpg, os.kill):  # right after the fork it may have no group yet
                with contextlib.suppress(OSError):
                    kill(pid, signal.SIGKILL)

    def _tell(self, slot: Connection, message: dict[str, Any]) -> None:
        if slot in self.slots:
            with contextlib.suppress(OSError):  # a slot that is gone is dismissed when its end is read
                slot.send(message)

    def _fork(self, connection_fd: int, assignment: Assignment, log: str, environment: dict[str, str]) -> int:
        parent = os.getpid()
        if (pid := os.fork()) != 0:
            return pid
        status = 1
        try:
            die_with_parent(parent)
            self._forget()
            os.environ.update(environment)
            _become_trial(assignment, log)
            status = child.run(self.code, assignment, Connection(connection_fd))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            child.leave(status)
        raise AssertionError("a child never returns")

    def _forget(self) -> None:
        """Close in the child what is the zygote's alone."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)  # from Python 3.12 on asyncio has done so already, so it need not tell which it was
        child.forget_exit_handlers()
        os.close(self.alarm)
        os.close(self.bell)
        for slot in self.slots:
            slot.close()
        if self.listener is not None:
            self.listener.close()


def _become_trial(assignment: Assignment, log: str) -> None:
    """Take a process group, a log file and the threads of this trial, and signals as a script has them."""
    os.setsid()
    with contextlib.suppress(OSError):  # a kernel short of memory shall take this one: Ray's workers offer themselves
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and hands that down
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    faulthandler.enable(2)  # a segfault leaves its traceback in the log
    faulthandler.register(STACKS, 2)  # and the slot asks a silent trial what it is doing
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(assignment.cpus)


def start(arguments: Sequence[str]) -> None:
    """Begin as what `launcher.spawn` asks for: `parent fd mode [more]`; the code comes first through the fd."""
    parent, fd, mode, *more = arguments
    die_with_parent(int(parent))
    code = _receive_code(int(fd))
    if mode == "once":
        once(int(fd), code)
    elif mode == "serve":
        main(int(fd), code, listener=socket.socket(fileno=int(more[0])))
    else:
        main(int(fd), code, more if mode == "bare" else None)


def _receive_code(fd: int) -> Code:
    connection = Connection(os.dup(fd))
    code: Code = connection.recv()
    connection.close()
    return code


if __name__ == "__main__":
    start(sys.argv[2:])
