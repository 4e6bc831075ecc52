"""The run's ledger: one record a line, `crc32 json`, on disk before anything acts on it."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tuner.core.lines import from_json, to_json
from tuner.core.records import GO, SCHEMA, Header, Record, Report, Session
from tuner.errors import Locked, UserError
from tuner.storage import Log, write_whole

NAME = "ledger"
PLAIN = re.compile(r"[^\W_][\w.@ -]*")
"""Names of runs and trials, which become names of files."""
CHECKPOINT = re.compile(rf"trials/{PLAIN.pattern}/checkpoints/{PLAIN.pattern}")


class Ledger:
    """The ledger of a run that this process drives."""

    def __init__(self, folder: Path) -> None:
        """Take the run's lock and read what is there; raises UserError where another driver holds it."""
        self._clock = time.time() - time.monotonic()
        try:
            self._log = Log(folder / NAME)
        except Locked:
            who = _driver(folder)
            raise Locked(f"{folder}: {who} is driving this run. Wait for it to end, or --stop it.") from None
        try:
            data = self._log.read()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                # The last write was torn by a crash; nothing has acted on it.
                self._log.cut(whole)
            self.records = list(parse(data[:whole], folder / NAME))
            self.size = whole
            """Bytes that are written for good."""
        except BaseException:
            self._log.close()
            raise

    def append(self, record: Record) -> Record:
        """Write and sync a record; return it as a later reader will see it.

        Its time goes on steadily from the beginning of the session, whatever is done to the machine's clock.
        """
        line = to_json(replace(record, time=self._clock + time.monotonic()))
        framed = _frame(line)
        self._log.append(framed, sync=not _changes_nothing(record))
        self.size += len(framed)
        return from_json(line)

    def close(self) -> None:
        """Give back the lock."""
        self._log.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _driver(folder: Path) -> str:
    """Name who holds the lock, as far as the ledger tells."""
    sessions = [record for record in read(folder) if isinstance(record, Session)]
    return f"process {sessions[-1].pid} on {sessions[-1].host}" if sessions else "another process"


def read(folder: Path) -> list[Record]:
    """Read the records of any run, also of one that is live; a torn tail is passed over."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{folder}: must be the folder of a run, but holds no file named {NAME}.") from None
    except OSError as error:
        raise UserError(unreadable(folder, error)) from None
    return list(parse(data[: data.rfind(b"\n") + 1], folder / NAME))


def unreadable(folder: Path, error: OSError) -> str:
    """Say that a run may not be read."""
    return f"{folder}: must be a run that may be read, but got: {error.strerror}. Ask its owner for the right to."


def bring(folder: Path, there: bytes, url: str) -> Path | None:
    """Bring the ledger of a folder to where that of its copy at a URL stands; raises UserError where that is no copy.

    The one here counts where the other is but behind it. Else another driver went on from the copy meanwhile: then that
    counts, and the one here is kept aside, in the file that is returned, if it has anything that the copy has not.
    """
    path = folder / NAME
    here = path.read_bytes() if path.exists() else b""
    here = here[: here.rfind(b"\n") + 1]
    if not here and not there:
        raise UserError(f"{url}: must be a run, but holds no ledger. Check the name.")
    if here and there and here.partition(b"\n")[0] != there.partition(b"\n")[0]:
        raise UserError(f"{folder}: must be the run of {url} or not there, but is another run. Move it away.")
    if here.startswith(there):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    log, aside = Log(path), path.with_name(f"{NAME}.aside-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        if not there.startswith(here):
            write_whole(aside, here)
        write_whole(path, there)
    finally:
        log.close()
    return aside if aside.exists() else None


def _changes_nothing(record: Record) -> bool:
    """Tell whether nothing acts on a record, so that its sync can wait for the next one that something acts on."""
    return isinstance(record, Report) and record.decision == GO


def _frame(line: str) -> bytes:
    text = line.encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def parse(data: bytes, path: str | Path) -> Iterator[Record]:
    """Read whole lines; raises UserError that names the byte where one is damaged."""
    at = 0
    for line in data.splitlines(keepends=True):
        crc, _, text = line.rstrip(b"\n").partition(b" ")
        try:
            if crc != b"%08x" % zlib.crc32(text):
                raise ValueError("the checksum does not fit")
            record = from_json(text.decode())
            _refuse_other_places(record)
            yield record
        except (ValueError, TypeError, KeyError) as error:
            if (schema := _schema(data)) > SCHEMA:
                raise UserError(f"{path}: was written by a newer version (schema {schema}). Update tuner.") from None
            raise UserError(
                f"{path}: byte {at}: must be a whole record, but is damaged ({error}). "
                "Restore the file from a copy, or cut it there to go on from an earlier moment."
            ) from None
        at += len(line)


def _refuse_other_places(record: Record) -> None:
    """Raise ValueError where a record names what does not lie in its run: the ledger may be a stranger's."""
    clone = record.decision.clone if isinstance(record, Report) else None
    names = [getattr(record, "trial", None), getattr(record, "of", None), clone and clone.donor]
    checkpoints = [getattr(record, "checkpoint", None), clone and clone.checkpoint]
    named = [record.name] if isinstance(record, Header) else []
    for pattern, texts in ((PLAIN, [*named, *names]), (CHECKPOINT, checkpoints)):
        for text in texts:
            if text is not None and not pattern.fullmatch(str(text)):
                raise ValueError(f"names {text!r}, which does not lie in the run's folder")


def _schema(data: bytes) -> int:
    """Read the schema out of a header that may be of a later version."""
    found = re.search(rb'"schema":(\d+)', data.partition(b"\n")[0])
    return int(found[1]) if found else 0
