"""The right to drive a run at a URL: objects with ascending numbers, the greatest of which counts.

Whoever creates the next number holds the lease, which only one can; it is renewed by writing over it. A holder that
could not renew it for a while does nothing more until it has; only after a longer while may another take it over.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from tuner.errors import ClusterError, Locked
from tuner.storage.machine import started, this_machine
from tuner.storage.url import Objects

FOLDER = "lease"
NAME = re.compile(FOLDER + r"/(\d{6})")
RENEWED_SECONDS = 10.0
TRUSTED_SECONDS = 30.0
"""So long after the last renewal its holder may still act on it."""
EXPIRED_SECONDS = 45.0
"""So long after it another driver may take it over."""
LOOK_SECONDS = 2.0
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that goes on while the machine sleeps, where there is one: others' clocks do."""


class Taken(ClusterError):
    """Another driver has taken the lease: this one may write nothing more."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease, as its object says."""

    host: str
    pid: int
    machine: str
    started: str
    id: str
    renewed: int = 0
    """How often."""
    ended: bool = False

    def is_dead_here(self) -> bool:
        """Tell whether it was a process of this machine that is there no more."""
        return self.machine == this_machine() and started(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """The lease of one driver."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.term = 0
        """Its number, once it is held."""
        pid = os.getpid()
        self._holder = Holder(socket.gethostname(), pid, this_machine(), started(pid), uuid.uuid4().hex)
        self._renewed = 0.0

    def take(self, say: Callable[[str], None]) -> None:
        """Take it, after a wait where its last holder may be dead; raises Locked where that one lives."""
        watched: tuple[int, Holder] | None = None
        since = _now()
        while not self._take_free(watched if _now() - since > EXPIRED_SECONDS else None):
            held = self._held()
            if held is not None and not held[1].ended:  # else it has become free meanwhile
                if watched is None:
                    watched, since = held, _now()
                    say(f"{self.objects.url}: {held[1]} held this run's lease; waiting to see whether it is alive …")
                elif held != watched:
                    raise Locked(
                        f"{self.objects.url}: {held[1]} is driving this run. Wait for it to end, or stop it first."
                    )
            time.sleep(LOOK_SECONDS)

    def holder(self) -> Holder | None:
        """Tell who holds it, if anybody has not left it; raises OSError."""
        held = self._held()
        return held[1] if held and not held[1].ended else None

    def living_holder(self) -> Holder | None:
        """Tell who holds it, if that one may be alive; raises OSError."""
        held = self._held()
        if held is None or held[1].ended or held[1].is_dead_here() or self._is_expired(held[0]):
            return None
        return held[1]

    def renew(self) -> None:
        """Renew it; raises Taken where it is another's by now, and OSError where that cannot be learned."""
        began = _now()
        held = self._held()
        if held is not None and held[0] > self.term:
            raise Taken(
                f"{self.objects.url}: {held[1]} has taken this run over, since this driver's lease was not renewed "
                "in time. Nothing more is written."
            )
        self._holder = replace(self._holder, renewed=self._holder.renewed + 1)
        self._put()
        self._renewed = began

    def is_due(self) -> bool:
        """Tell whether it is time to renew it."""
        return _now() > self._renewed + RENEWED_SECONDS

    def is_sure(self) -> bool:
        """Tell whether nobody can have taken it over yet."""
        return _now() < self._renewed + TRUSTED_SECONDS

    def end(self) -> None:
        """Leave it to whoever comes next."""
        self._holder = replace(self._holder, ended=True)
        self._put()

    def _take_free(self, silent: tuple[int, Holder] | None) -> bool:
        """Create the next number, where the last one is free, or is still what has been silent for too long."""
        began, held = _now(), self._held()
        last = held[0] if held else 0
        if held and not (held[1].ended or held[1].is_dead_here() or held == silent or self._is_expired(last)):
            return False
        if not self.objects.create(_name(last + 1), self._data()):
            return False
        self.term, self._renewed = last + 1, began
        self.objects.delete([_name(old) for old in self._terms() if old < self.term])
        return True

    def _is_expired(self, term: int) -> bool:
        """Hold the time of its last renewal against that of an object put now: both by the server's clock."""
        now = f"{FOLDER}/now-{self._holder.id}"
        self.objects.put(now, b"")
        try:
            return self.objects.modified(now) - self.objects.modified(_name(term)) > EXPIRED_SECONDS
        except FileNotFoundError:
            return False  # it was just taken by somebody else
        finally:
            self.objects.delete([now])

    def _held(self) -> tuple[int, Holder] | None:
        """Read the greatest number and who holds it."""
        for term in sorted(self._terms(), reverse=True):
            with suppress(FileNotFoundError):
                return term, self._holder_in(_name(term))
        return None

    def _holder_in(self, name: str) -> Holder:
        try:
            return Holder(**json.loads(self.objects.get(name)))
        except (ValueError, TypeError) as error:
            raise OSError(f"{self.objects.url}/{name}: is no lease of this version: {error}") from error

    def _terms(self) -> list[int]:
        return [int(match[1]) for name in self.objects.list(FOLDER) if (match := NAME.fullmatch(name))]

    def _put(self) -> None:
        self.objects.put(_name(self.term), self._data())

    def _data(self) -> bytes:
        return json.dumps(asdict(self._holder)).encode()


def _name(term: int) -> str:
    return f"{FOLDER}/{term:06d}"


def _now() -> float:
    return time.clock_gettime(CLOCK)
