"""What a service that is not asked for it has taken of a run: kept in the run's folder, for the next driver."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tuner.storage import append_whole


@dataclass(frozen=True, slots=True)
class Taken:
    """What there is of a trial."""

    reports: int = 0
    outcome: str | None = None
    tags: list[str] = field(default_factory=list)


class SentFile:
    """A line of JSON for each time that something was taken, of which the last one of a trial counts.

    `place` says where the service is; what was sent elsewhere counts for nothing here.
    """

    def __init__(self, path: Path, place: str) -> None:
        self.path, self.place = path, place
        self.taken: dict[str, Taken] = {}
        """By the trial's id at the service."""
        for line in path.read_text().splitlines() if path.exists() else ():
            with suppress(ValueError, KeyError, TypeError):  # of another version, or cut off: it is sent again
                facts = json.loads(line)
                if facts["place"] == place:
                    self.taken[facts["id"]] = Taken(facts["reports"], facts["outcome"], facts["tags"])

    def note(self, identity: str, taken: Taken) -> None:
        """Keep what was taken; where there is no room for that it is sent again by the next driver."""
        self.taken[identity] = taken
        line = json.dumps({"place": self.place, "id": identity, **asdict(taken)})
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_whole(self.path, f"{line}\n".encode())
