"""The file of records: its lock, its torn tail, a damaged byte, and writes that fail half way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.core.records import Asked, Decision, Lost, Mark, Record, Report, Suggested, Tick
from tuner.errors import UserError
from tuner.ledger import NAME, Ledger, read
from tuner.storage import write_whole

RECORDS: list[Record] = [
    Tick(elapsed=0.1 + 0.2),
    Lost(trial="t0000", reason="Zeile\nzwei\r\n\u2028 ü"),
    Suggested(trial="t0001", params={"widths": [8, None], "lr": -0.0}, choices={"widths": 1}, seen=2),
]


def timeless(records: list[Record]) -> list[str]:
    """Show records without the moment they were written."""
    return [repr(record).split("time=")[0] + repr(record).split(", ", 1)[1] for record in records]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path)
    for record in RECORDS:
        ledger.append(record)
    ledger.close()
    return tmp_path


def test_what_is_appended_is_read_back_with_its_moment(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.records == []
    returned = [ledger.append(record) for record in RECORDS]
    assert read(tmp_path) == returned, "on disk when append returns, and readable by others"
    ledger.close()
    again = Ledger(tmp_path)
    assert again.records == returned
    assert timeless(again.records) == timeless(RECORDS)
    times = [record.time for record in again.records]
    assert times == sorted(times) and times[0] > 1.6e9
    again.append(Asked(trial=None))
    again.close()
    assert len(read(tmp_path)) == 4


def test_a_line_is_the_checksum_of_its_json_and_the_json(written: Path) -> None:
    import zlib

    for line in (written / NAME).read_bytes().splitlines():
        crc, _, text = line.partition(b" ")
        assert crc == b"%08x" % zlib.crc32(text)
        assert text.startswith(b"{")


def test_a_second_driver_is_refused_while_the_first_lives(written: Path) -> None:
    first = Ledger(written)
    for _ in range(2):
        with pytest.raises(UserError, match="another process is driving this run"):
            Ledger(written)
    code = f"from pathlib import Path; from tuner.ledger import Ledger; Ledger(Path({str(written)!r}))"
    here = Path(__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=here)
    assert other.returncode == 1
    assert "another process is driving this run" in other.stderr
    assert len(read(written)) == 3, "a reader needs no lock"
    first.append(Asked(trial=None))
    first.close()
    Ledger(written).close()


def test_a_torn_tail_is_passed_over_by_readers_and_cut_by_the_holder(written: Path) -> None:
    file = written / NAME
    whole = file.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    for size in range(len(whole) + 1):
        file.write_bytes(whole[:size])
        kept = sum(start <= size for start in starts[1:])
        assert len(read(written)) == kept
        assert file.stat().st_size == size, "a reader changes nothing"
    file.write_bytes(whole[:-1])
    ledger = Ledger(written)
    assert len(ledger.records) == 2
    assert file.read_bytes() == whole[: starts[2]]
    ledger.append(Asked(trial="t0000"))
    ledger.close()
    assert [record.kind for record in read(written)] == ["tick", "lost", "asked"]


def test_a_damaged_byte_is_named_by_the_place_of_its_line(written: Path) -> None:
    file = written / NAME
    whole = file.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    for at in range(len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        start = max(start for start in starts if start <= at)
        with pytest.raises(UserError, match=f": byte {start}: must be a whole record, but is damaged"):
            read(written)
    damaged = file.read_bytes()
    with pytest.raises(UserError, match="is damaged"):
        Ledger(written)
    assert file.read_bytes() == damaged, "the holder of the lock repairs nothing but a tail"


def test_after_a_damaged_ledger_the_lock_is_free_again(written: Path) -> None:
    file = written / NAME
    whole = file.read_bytes()
    file.write_bytes(b"x" + whole[1:])
    with pytest.raises(UserError, match="byte 0"):
        Ledger(written)
    file.write_bytes(whole)
    Ledger(written).close()


@pytest.mark.parametrize("line", [b"\n", b"00000000 \n", b"no checksum\n", b'7c86c4f2 {"kind":"nothing"}\n'])
def test_a_line_that_is_no_record_is_damage(written: Path, line: bytes) -> None:
    size = (written / NAME).stat().st_size
    with (written / NAME).open("ab") as file:
        file.write(line)
    with pytest.raises(UserError, match=f"byte {size}"):
        read(written)


@pytest.mark.parametrize("written_bytes", [0, 1, 20])
def test_a_write_that_stops_half_way_leaves_the_file_as_it_was(
    written: Path, monkeypatch: pytest.MonkeyPatch, written_bytes: int
) -> None:
    before = (written / NAME).read_bytes()
    ledger = Ledger(written)
    real, room = os.write, [written_bytes]

    def write(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(file, data[: room[0]])
        room[0] -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            ledger.append(Asked(trial=None))
    assert (written / NAME).read_bytes() == before
    ledger.append(Lost(trial="t0000", reason="later"))
    ledger.close()
    assert [record.kind for record in read(written)] == ["tick", "lost", "suggested", "lost"]


def test_a_sync_that_fails_leaves_the_file_as_it_was(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (written / NAME).read_bytes()
    ledger = Ledger(written)

    def fail(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        ledger.append(Asked(trial=None))
    ledger.close()
    assert (written / NAME).read_bytes() == before


def test_every_append_is_one_write_and_one_sync_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    write, sync = os.write, os.fdatasync

    def counted_write(file: int, data: bytes) -> int:
        calls.append("write")
        return write(file, data)

    def counted_sync(file: int) -> None:
        calls.append("sync")
        sync(file)

    ledger = Ledger(tmp_path)
    monkeypatch.setattr(os, "write", counted_write)
    monkeypatch.setattr(os, "fdatasync", counted_sync)
    for record in RECORDS:
        ledger.append(record)
    ledger.close()
    assert calls == ["write", "sync"] * 3


def test_a_ledger_of_no_bytes_holds_no_records(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    assert read(tmp_path) == []
    ledger = Ledger(tmp_path)
    assert ledger.records == []
    ledger.append(Tick(elapsed=1.0))
    ledger.close()
    assert len(read(tmp_path)) == 1


def test_a_folder_without_a_ledger_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be the folder of a run, but holds no file named ledger"):
        read(tmp_path)


def test_a_whole_file_replaces_the_old_one_or_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "summary.json"
    write_whole(file, "first")
    write_whole(file, b"second", sync=False)
    assert file.read_text() == "second"
    assert file.stat().st_mode & 0o777 == 0o644

    def fail(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "third")
    assert file.read_text() == "second"
    assert [path.name for path in file.parent.iterdir()] == ["summary.json"], "no half-written file is left"


def test_what_something_acts_on_is_synced_and_what_nothing_acts_on_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("tuner.storage.folder.os.fdatasync", synced.append)

    def syncs(record: Record) -> bool:
        synced.clear()
        ledger.append(record)
        return bool(synced)

    def report(decision: Decision) -> Report:
        return Report(
            trial="t0000", generation=0, epoch=1, metrics={"a": 1.0}, checkpoint=None, decision=decision, seconds=1.0
        )

    mark = Mark(bracket=0, epoch=1, value=1.0, cutoff=None, rank=1, of=1)
    with Ledger(tmp_path) as ledger:
        assert all(syncs(record) for record in RECORDS)
        assert syncs(report(Decision(action="end", outcome="finished")))
        assert syncs(report(Decision(action="go", mark=mark)))
        assert not syncs(report(Decision(action="go")))
        assert len(read(tmp_path)) == len(RECORDS) + 3, "written at once all the same"
