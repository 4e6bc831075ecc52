"""When a suggestion is computed, and what it has seen: fixed by the ledger, never by timing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from tuner.core.records import Record, Suggested


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Params for one new trial."""

    params: dict[str, Any]
    choices: dict[str, int]
    seen: int
    """How many records the searcher had observed."""
    attributes: dict[str, Any] = field(default_factory=dict)


class Searcher(Protocol):
    """What a kind of search does; the same records make the same suggestions."""

    def observe(self, record: Record) -> None:
        """Take in one record of the ledger, in order."""
        ...

    def suggest(self, number: int) -> Suggestion:
        """Find params for trial `number`, from the records observed so far."""
        ...


class Asker(Protocol):
    """What the core asks for params."""

    def observe(self, record: Record) -> None:
        """Take in one record of the ledger, in order."""
        ...

    def ask(self, number: int) -> Suggestion:
        """Give the suggestion for trial `number`, the next one."""
        ...


class AtNeed:
    """Compute a suggestion when it is asked for: it sees all records before it."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher

    def observe(self, record: Record) -> None:
        """Pass the record on."""
        self.searcher.observe(record)

    def ask(self, number: int) -> Suggestion:
        """Compute the suggestion."""
        return self.searcher.suggest(number)


class OneAhead:
    """Let suggestion n see the ledger up to suggestion n − 1, so that it can be computed meanwhile.

    The records that came later wait until it is computed. Where and when that happens changes nothing.
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.waiting: deque[Record] = deque()

    def observe(self, record: Record) -> None:
        """Keep the record until the suggestion that must not see it is computed."""
        self.waiting.append(record)

    def ask(self, number: int) -> Suggestion:
        """Show the searcher all up to suggestion `number` − 1, then compute."""
        while self.waiting:
            record = self.waiting.popleft()
            self.searcher.observe(record)
            if isinstance(record, Suggested) and record.number == number - 1:
                break
        return self.searcher.suggest(number)
