"""A suggestion computed in another thread while trials train; which one, and from what, is the asker's affair."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from tuner.core.records import Record, Suggested
from tuner.core.search.asker import Asker, AtNeed, OneAhead, Suggestion


class Ahead:
    """Wraps an asker whose suggestions may be computed ahead."""

    def __init__(self, asker: OneAhead, next_number: int, last_number: int) -> None:
        self.asker, self.last = asker, last_number
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._next: Future[Suggestion] | None = None
        self._submit(next_number)

    def observe(self, record: Record) -> None:
        """Pass the record on; after a suggestion, begin with the next one."""
        self.asker.observe(record)
        if isinstance(record, Suggested):
            self._submit(record.number + 1)

    def ask(self, number: int) -> Suggestion:
        """Wait for the suggestion."""
        assert self._next is not None
        return self._next.result()

    def _submit(self, number: int) -> None:
        if number <= self.last:
            self._next = self._pool.submit(self.asker.ask, number)


def ahead(asker: Asker, next_number: int, last_number: int) -> Asker:
    """Compute suggestions ahead where the kind of search allows it; a model's fits, where it has one."""
    if isinstance(asker, AtNeed):
        return asker
    if isinstance(asker, OneAhead):
        return Ahead(asker, next_number, last_number)
    from tuner.core.search.thaw import FreezeThaw  # which imports scipy: only where it is there already

    if isinstance(asker, FreezeThaw):
        pool = ThreadPoolExecutor(1, thread_name_prefix="fit")
        asker.model.later = lambda job: pool.submit(job).result
    return asker
