"""A ledger at a URL: pieces that are never changed, named by the byte where they begin and the lease of their driver.

A driver first puts all that it goes on from as one piece under its own lease. Readers never go back to a lesser lease,
so what a driver that has lost its own puts afterwards is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuner.storage.url import Objects

FOLDER = "ledger"
MOST = 200
"""So many pieces are joined to one: a new head reads them all."""
NAME = re.compile(FOLDER + r"/(\d{15})-(\d{6})")


class Segments:
    """The pieces of one ledger; appended to by the holder of lease number `term`."""

    def __init__(self, objects: Objects, term: int = 0) -> None:
        self.objects, self.term = objects, term
        self.size = 0
        """Bytes that are there; known once `begin` was called."""
        self._pieces = 0

    def read(self) -> bytes:
        """Read all that hangs together from the first byte on; lines that are not whole are left out."""
        for _ in range(5):
            pieces = dict(self._chain())
            try:
                found = self.objects.get_all(list(pieces))
            except FileNotFoundError:  # joined to one meanwhile
                continue
            if [len(piece) for piece in found] == list(pieces.values()):  # else the joined one is there already
                data = b"".join(found)
                return data[: data.rfind(b"\n") + 1]
        raise OSError(f"{self.objects.url}/{FOLDER}: changes again and again while it is read")

    def begin(self, data: bytes) -> None:
        """Put all of it as one piece, from where this driver goes on; the pieces before are deleted.

        Those of a greater lease stay: this driver may have lost its own without knowing it.
        """
        known = [name for name in self.objects.list(FOLDER) if _term(name) <= self.term]
        name = self._name(0)
        self.objects.put(name, data)
        self.size, self._pieces = len(data), 1
        self.objects.delete([old for old in known if old != name])

    def append(self, data: bytes) -> bool:
        """Put what comes next; False where another driver has put something under our lease.

        A beginning of it may be there: the answer to an earlier try got lost, and the ledger has grown since.
        """
        while data:
            put = data
            if not self.objects.create(self._name(self.size), data):
                put = self.objects.get(self._name(self.size))
                if not put or not data.startswith(put):
                    return False
            self.size += len(put)
            self._pieces += 1
            data = data[len(put) :]
        return True

    def is_in_pieces(self) -> bool:
        """Tell whether there are so many that they should be joined, by `begin`."""
        return self._pieces >= MOST

    def _name(self, at: int) -> str:
        return f"{FOLDER}/{at:015d}-{self.term:06d}"

    def _chain(self) -> Iterator[tuple[str, int]]:
        """Follow the pieces and their sizes from one's end to the next; of several the one of the greatest lease."""
        found: dict[int, dict[int, tuple[str, int]]] = {}
        for name, size in self.objects.list(FOLDER).items():
            if (match := NAME.fullmatch(name)) and size:
                found.setdefault(int(match[1]), {})[int(match[2])] = name, size
        at = least = 0
        while later := {term: piece for term, piece in found.get(at, {}).items() if term >= least}:
            least = max(later)
            name, size = later[least]
            yield name, size
            at += size


def _term(name: str) -> int:
    """Read under which lease a piece was put; 0 for what is no piece."""
    return int(match[2]) if (match := NAME.fullmatch(name)) else 0
