"""The one line of JSON of each record."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from tuner.core.records import KINDS, Clone, Decision, Mark, Record, Report
from tuner.spelled import SPELLED, spelled


def to_json(record: Record) -> str:
    """Write a record as one line of JSON without NaN; floats come back bit for bit."""
    return json.dumps({"kind": record.kind, **spelled(asdict(record), _marked)}, allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Record:
    """Read a record; raises ValueError where the text is none."""
    data = json.loads(text, object_hook=_decode)
    cls = KINDS.get(str(data.pop("kind", ""))) if isinstance(data, dict) else None
    if cls is None or data.keys() - {f.name for f in fields(cls)}:
        raise ValueError(f"must be a record of a known kind, but got {text[:80]!r}")
    if cls is Report:
        data["decision"] = _decision(data["decision"])
    return cls(**data)


def _decision(data: dict[str, Any]) -> Decision:
    mark, clone = data.pop("mark"), data.pop("clone")
    return Decision(**data, mark=Mark(**mark) if mark else None, clone=Clone(**clone) if clone else None)


def _marked(number: str) -> dict[str, str]:
    """Tell a number that is spelled out from a text."""
    return {"$float": number}


def _decode(data: dict[str, Any]) -> Any:
    return float(data["$float"]) if data.keys() == {"$float"} and data["$float"] in SPELLED else data
