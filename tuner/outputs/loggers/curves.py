"""All that was reported as one long table, which any program reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tuner.core.records import Header, Record, Report
from tuner.core.state import RunState
from tuner.storage import append_whole, is_full

NAME = "curves.csv"
COLUMNS = ("trial", "generation", "epoch", "metric", "value")


class Curves:
    """Writes `curves.csv`, a line for each value of each report; begins anew with the first record.

    One line a value, since trials may report different metrics, and a file that grows can get no new columns.
    """

    def __init__(self, run_folder: Path) -> None:
        self.path = run_folder / NAME
        self._waiting: list[str] = []

    def see(self, record: Record, run: RunState) -> None:
        """Write a report's values."""
        if isinstance(record, Header):
            self.path.write_bytes(b"")
            self._waiting = [_line(*COLUMNS)]
        elif isinstance(record, Report):
            place = (record.trial, record.generation, record.epoch)
            self._waiting += [_line(*place, name, repr(value)) for name, value in record.metrics.items()]
        self._flush()

    def close(self, run: RunState) -> None:
        """Write what is left."""
        self._flush()

    def _flush(self) -> None:
        """Write what waits; what finds no room on the disk waits for the next time."""
        if not self._waiting:
            return
        try:
            append_whole(self.path, "".join(self._waiting).encode())
        except OSError as error:
            if not is_full(error):
                raise
        else:
            self._waiting.clear()


def _line(*cells: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
