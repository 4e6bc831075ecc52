"""Trials that fail, or lose their process again and again, one after the other in the same way: then it is the code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tuner.core.records import Ended

LONGEST = 3
"""So many trials in a row with the same exception before their first report end the run."""
PLACE = re.compile(r'^[\s|]+File "(.+)", line (\d+)', re.MULTILINE)


@dataclass(slots=True)
class Streak:
    """The trials that failed last, one after the other, in the same way and without a report."""

    trials: list[str] = field(default_factory=list)
    way: str = ""
    """How they failed."""

    @property
    def is_over(self) -> bool:
        """Tell whether there have been too many."""
        return len(self.trials) >= LONGEST

    def clear(self) -> None:
        """Begin anew: a trial has made its first report, or other code may be there."""
        self.trials.clear()

    def add(self, record: Ended, reported: bool) -> None:
        """Take in the end of a trial; one that has `reported` proves that the code is right as such."""
        if record.outcome not in ("failed", "lost") or reported:
            self.clear()
            return
        if (way := _way(record)) != self.way:
            self.clear()
        self.way = way
        self.trials.append(record.trial)


def _way(record: Ended) -> str:
    """Tell how a trial failed: which error, raised where; its text may hold the trial's own params."""
    places = PLACE.findall(record.error)
    return f"{record.reason.partition(':')[0]} at {places[-1]}" if places else record.reason
