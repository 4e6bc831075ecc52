"""The process that trials are forked from: it has imported what they need, has one thread and no CUDA context.

It is started by a slot as a plain Python process, so that trials inherit neither Ray's threads nor its `__main__`.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from typing import Any

from tuner.slot import child
from tuner.slot.code import Code
from tuner.trial import Assignment

PR_SET_PDEATHSIG = 1


def main(control_fd: int, code: Code, bare: Sequence[str] | None) -> None:
    """Import, say so, and fork a child for each assignment until the slot is gone.

    It imports the user's module, or the modules of `bare` instead; then each child imports the user's.
    """
    control = Connection(control_fd)
    problem = child.import_problem(code) if bare is None else _import_all(bare)
    _warm_up()
    sys.stdout.flush()  # else each child would write it again
    sys.stderr.flush()
    control.send(problem or {"event": "ready", "forkable": forkable(), "torch": "torch" in sys.modules})
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that children share
    _serve(control, code)


def once(connection_fd: int, code: Code) -> None:
    """Run one assignment in this very process: for platforms without a safe fork."""
    connection = Connection(connection_fd)
    assignment, log = connection.recv()
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


def _serve(control: Connection, code: Code) -> None:
    alarm = _child_alarm()
    while True:
        ready = wait([control, alarm])
        if alarm in ready:
            os.read(alarm, 512)
        if control in ready:
            try:
                assignment, log = control.recv()
                connection_fd = reduction.recv_handle(control)
            except EOFError:
                return
            pid = _fork(control, alarm, connection_fd, assignment, log, code)
            os.close(connection_fd)
            control.send({"event": "forked", "pid": pid})
        for pid, status in _reap():
            control.send({"event": "exited", "pid": pid, "status": status})


def _import_all(names: Sequence[str]) -> dict[str, Any] | None:
    for name in names:
        importlib.import_module(name)
    return None


def _warm_up() -> None:
    """Have torch import what it puts off until the first optimizer is made: 800 modules, a second in each trial."""
    if "torch" in sys.modules:
        import torch

        with contextlib.suppress(Exception):
            torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


def _child_alarm() -> int:
    """Make the read end of a pipe that wakes when a child ends."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end


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


def _fork(control: Connection, alarm: int, connection_fd: int, assignment: Assignment, log: str, code: Code) -> int:
    parent = os.getpid()
    if (pid := os.fork()) != 0:
        return pid
    status = 1
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(signal.set_wakeup_fd(-1))
        os.close(alarm)
        control.close()
        _become_trial(assignment, log)
        status = child.run(code, assignment, Connection(connection_fd))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        child.leave(status)
    raise AssertionError("a child never returns")


def _become_trial(assignment: Assignment, log: str) -> None:
    """Take a process group, a log file and the threads of this trial."""
    os.setsid()
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(log_fd)
    faulthandler.enable(2)  # a segfault leaves its traceback in the log
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(assignment.cpus)


def start(arguments: Sequence[str]) -> None:
    """Begin as what the slot asks for: `parent fd code mode [modules]`; see `launcher.spawn`."""
    parent, fd, code, mode, *bare = arguments
    die_with_parent(int(parent))
    what: Code = pickle.loads(bytes.fromhex(code))
    if mode == "once":
        once(int(fd), what)
    else:
        main(int(fd), what, bare if mode == "bare" else None)


if __name__ == "__main__":
    start(sys.argv[2:])
