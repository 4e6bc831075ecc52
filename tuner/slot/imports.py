"""Large imports without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector away meanwhile: what imports make stays, and to look for garbage in it takes a fifth of them.

    One inside another does nothing, also in another thread. A module of the user's may turn the collector off for good.
    """
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if before[0] and gc.get_threshold()[0] == 0:
            gc.set_threshold(*before)
