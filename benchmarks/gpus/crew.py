"""Processes forked from this one before it uses a GPU, as trials are from the zygote, with a pipe to each."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from tuner.slot.zygote import die_with_parent

PATIENCE = 60.0
"""Seconds without an answer after which a process is given up."""


class Failed(Exception):
    """A process failed, or said nothing for too long; what it was is the text."""


class Skipped(Exception):
    """Something cannot be tried here; why is the text."""


class Line:
    """The child's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, what: Any) -> None:
        """Send plain data."""
        self.connection.send(("said", what))

    def hear(self) -> Any:
        """Wait for what the parent says."""
        return self.connection.recv()

    def is_called(self) -> bool:
        """Tell whether the parent has said something."""
        return self.connection.poll()


Task = Callable[..., Any]
"""What a child does: it gets its line and more arguments; what it returns is its last word."""


class Child:
    """One process, and this end of the pipe to it."""

    def __init__(self, task: Task, *arguments: Any, environment: Mapping[str, str] | None = None) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        every = (os.getpid(), self.pipe, theirs, task, arguments, dict(environment or {}))
        self.process = context.Process(target=_run, args=every, daemon=True)
        self.began = time.perf_counter()
        self.process.start()
        theirs.close()

    def say(self, what: Any) -> None:
        """Send plain data, if it still lives."""
        try:
            self.pipe.send(what)
        except OSError:
            raise Failed("its process is gone") from None

    def hear(self, patience: float = PATIENCE) -> Any:
        """Wait for its next word; raises Failed."""
        if not self.pipe.poll(patience):
            raise Failed(f"no answer for {patience:.0f} s")
        try:
            kind, what = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(1)
            raise Failed(f"its process is gone (exit code {self.process.exitcode})") from None
        if kind == "failed":
            raise Failed(what)
        return what

    def end(self) -> None:
        """Let it end by itself, as it does once the pipe is closed, and kill it if it does not."""
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def ask(task: Task, *arguments: Any, environment: Mapping[str, str] | None = None, patience: float = PATIENCE) -> Any:
    """Have a process do one thing and return what it said; raises Failed."""
    with Child(task, *arguments, environment=environment) as child:
        return child.hear(patience)


def _run(
    parent: int, other: Connection, connection: Connection, task: Task, arguments: tuple[Any, ...], more: dict[str, str]
) -> None:
    die_with_parent(parent)
    other.close()  # the parent's end, which a fork copies: else the pipe would never be closed
    os.environ.update(more)  # before CUDA is first used: its driver reads from it where MPS is
    try:
        connection.send(("said", task(Line(connection), *arguments)))
    except (EOFError, BrokenPipeError):  # the parent has heard enough
        return
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        connection.send(("failed", f"{type(error).__name__}: {lines[0]}"))
