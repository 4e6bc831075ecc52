"""What the tests of the page share: runs that tell the time, and the figures of a page."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.core.lines import to_json
from tuner.core.records import Record
from tuner.outputs.page.history import History
from tuner.outputs.page.page import page

from .runs_made import MIXED

PBT: dict[str, Any] = {
    "space": {"lr": MIXED["lr"], "width": {"dist": "choice", "values": [[8], [16, 32]]}},
    "budget": {"trials": 8, "epochs": 12},
    "scheduler": {"kind": "pbt", "interval_epochs": 2},
}


def timed(folder: Path, records: Iterable[Record]) -> Path:
    """Write records with the times that they have."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [to_json(record).encode() for record in records]
    (folder / "ledger").write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in lines))
    return folder


def at(moment: float, record: Any, **more: Any) -> Any:
    return replace(record, time=1000.0 + moment, **more)


def figures(text: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]


def made(folder: Path) -> str:
    text = page(History(folder))
    assert "could not be made" not in text
    return text
