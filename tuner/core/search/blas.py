"""Linear algebra in one thread: for matrices of some hundred rows more only wait, and they add up in another order.

So a decision does not hang on how many cores a machine has, to the last bit.
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from functools import cache
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController


class OneThread(ContextDecorator):
    """Limits BLAS to one thread while anybody is inside; threads of Python may be so together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = _found().limit(limits=1)
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


ONE_THREAD = OneThread()


@cache
def _found() -> ThreadpoolController:
    """Find the libraries once: looking takes milliseconds.

    Of BLAS alone, for OpenMP has a number for each thread: who is out last would give its own that of who was in first.
    """
    return ThreadpoolController().select(user_api="blas")
