"""One event a line, for programs."""

from __future__ import annotations

from typing import TextIO

from tuner.core.lines import to_json
from tuner.core.records import Record
from tuner.core.state import RunState


class Events:
    """Writes every record as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def see(self, record: Record, run: RunState) -> None:
        """Write the record."""
        print(to_json(record), file=self.stream, flush=True)

    def close(self, run: RunState) -> None:
        """Nothing is left open."""
