"""The user's terminal, kept clear of what Ray and its libraries print."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console


@dataclass(frozen=True, slots=True)
class Terminal:
    """The user's own stdout and stderr, while the process's are moved aside."""

    out: TextIO
    err: TextIO


@contextmanager
def aside(log: Path) -> Iterator[Terminal]:
    """Send all that this process and Ray print to a file; what is written to the terminal still reaches the user.

    The file descriptors are moved, since Ray's C++ code writes to them past Python.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    terminal = Terminal(*(os.fdopen(os.dup(number), "w", buffering=1) for number in kept))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with _python_streams(log):
            yield terminal
    finally:
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        terminal.out.close()
        terminal.err.close()


def console(stream: TextIO) -> Console:
    """Make a console that folds lines for a terminal alone."""
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


@contextmanager
def _python_streams(log: Path) -> Iterator[None]:
    """Move Python's own streams too, where they are not the process's (notebooks, test runners)."""
    before = sys.stdout, sys.stderr
    with log.open("a", buffering=1) as file:
        sys.stdout = sys.stderr = file
        handlers = [h for h in logging.root.handlers if isinstance(h, logging.StreamHandler)]
        streams = [handler.setStream(file) for handler in handlers]
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for handler, stream in zip(handlers, streams, strict=True):
                if isinstance(stream, io.TextIOBase):
                    handler.setStream(stream)
