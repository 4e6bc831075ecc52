"""The user's terminal, kept clear of what Ray and its libraries print."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import rich.console


@dataclass(frozen=True, slots=True)
class Terminal:
    """The user's own stdout and stderr, while the process's are moved aside."""

    out: TextIO
    err: TextIO


class Console(rich.console.Console):
    """A console that takes nothing for markup, and whose end is not the end of the run."""

    def on_broken_pipe(self) -> None:
        """Go on silently: nobody reads any more, but the trials go on."""
        self.quiet = True


def console(stream: TextIO) -> Console:
    """Make a console for a stream; it folds lines for a terminal alone.

    Only the stream says whether it is a terminal: not a variable that asks for colours, and not that this is Jupyter,
    where output from a thread belongs to no cell.
    """
    terminal = stream.isatty()
    return Console(
        file=stream, force_terminal=terminal, force_jupyter=False, soft_wrap=not terminal, highlight=False,
        markup=False, emoji=False,
    )  # fmt: skip


@contextmanager
def aside(log: Path) -> Iterator[Terminal]:
    """Send all that this process and Ray print to a file; what is written to the terminal still reaches the user.

    The file descriptors are moved, since Ray's C++ code writes to them past Python. Where Python's own streams are
    others (notebooks, test runners), these are what the user sees, and they are moved too.
    """
    for number in (1, 2):
        _open(number)
    with ExitStack() as stack:
        file = stack.enter_context(log.open("a", buffering=1, encoding="utf-8", errors="replace"))
        out = stack.enter_context(_kept(sys.stdout, 1))
        err = stack.enter_context(_kept(sys.stderr, 2))
        for number in (1, 2):
            stack.enter_context(_descriptor(number, file.fileno()))
        stack.enter_context(_python_streams(file))
        yield Terminal(out, err)


@contextmanager
def _kept(stream: TextIO | None, number: int) -> Iterator[TextIO]:
    """Keep what the user sees: a copy of the descriptor if the stream writes to it, else the stream itself."""
    if stream is not None and _number(stream) != number:
        yield stream
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if stream is not None:
        stream.flush()
    copy = os.fdopen(os.dup(number), "w", buffering=1, encoding=encoding, errors="replace")
    try:
        yield copy
    finally:
        with suppress(OSError):
            copy.close()


def _open(number: int) -> None:
    """Let a standard descriptor that was closed lead nowhere: else the next file that is opened would get it."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def _number(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


@contextmanager
def _descriptor(number: int, target: int) -> Iterator[None]:
    """Let a file descriptor mean another file for a while."""
    before = os.dup(number)
    os.dup2(target, number)
    try:
        yield
    finally:
        os.dup2(before, number)
        os.close(before)


@contextmanager
def _python_streams(file: TextIO) -> Iterator[None]:
    """Move Python's streams, and the handlers of its log that hold on to them."""
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = file
    handlers = [h for h in logging.root.handlers if isinstance(h, logging.StreamHandler) and h.stream in before]
    streams = [handler.setStream(file) for handler in handlers]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for handler, stream in zip(handlers, streams, strict=True):
            if isinstance(stream, io.TextIOBase):
                handler.setStream(stream)
