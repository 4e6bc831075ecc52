"""Figures kept line by line, each when it is there, so that an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, Any]]:
    """Read what is kept, in order; nothing where there is no file yet."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]  # an interruption may leave the head of a line


def append(file: Path, line: dict[str, Any]) -> None:
    """Keep one more."""
    with file.open("a") as out:
        out.write(json.dumps(line, separators=(",", ":")) + "\n")
