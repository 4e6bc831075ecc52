"""A run's ledger and its copy at a URL: which of the two counts, and what becomes of the other."""

from __future__ import annotations

import zlib
from contextlib import closing
from pathlib import Path

import pytest

from tuner.errors import Locked, UserError
from tuner.ledger import NAME, bring
from tuner.storage import Log


def whole(*lines: str) -> bytes:
    """Frame lines as the ledger does; what they say does not matter here."""
    return b"".join(b"%08x %s\n" % (zlib.crc32(line.encode()), line.encode()) for line in lines)


def test_the_copy_of_a_run_is_brought_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert bring(tmp_path / "new" / "r", whole("run", "one"), "s3://x/r") is None
    assert (tmp_path / "new" / "r" / NAME).read_bytes() == whole("run", "one")


@pytest.mark.parametrize("more", [(), ("two",)])
def test_the_ledger_here_counts_where_the_copy_is_not_ahead(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / NAME).write_bytes(whole("run", "one", *more))
    assert bring(tmp_path, whole("run", "one"), "s3://x/r") is None
    assert (tmp_path / NAME).read_bytes() == whole("run", "one", *more)


def test_a_copy_that_went_on_is_taken_and_a_torn_tail_here_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(whole("run", "one") + b"0000 torn")
    assert bring(tmp_path, whole("run", "one", "two"), "s3://x/r") is None
    assert (tmp_path / NAME).read_bytes() == whole("run", "one", "two")
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_what_the_copy_has_not_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(whole("run", "one", "mine") + b"0000 torn")
    aside = bring(tmp_path, whole("run", "one", "theirs"), "s3://x/r")
    assert aside is not None and aside.name.startswith(f"{NAME}.aside-")
    assert aside.read_bytes() == whole("run", "one", "mine")
    assert (tmp_path / NAME).read_bytes() == whole("run", "one", "theirs")


def test_a_copy_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(whole("run", "one"))
    with pytest.raises(UserError, match="is another run"):
        bring(tmp_path, whole("another", "one"), "s3://x/r")
    assert (tmp_path / NAME).read_bytes() == whole("run", "one")


def test_nothing_here_and_nothing_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no ledger"):
        bring(tmp_path, b"", "s3://x/r")


def test_a_copy_is_not_brought_beside_a_driver(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(whole("run", "one"))
    with closing(Log(tmp_path / NAME)), pytest.raises(Locked):
        bring(tmp_path, whole("run", "one", "two"), "s3://x/r")
