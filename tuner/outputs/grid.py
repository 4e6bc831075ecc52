"""Tables of text that fit any width: what matters less gives way, and nothing that users wrote is taken for markup."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

GAP = 2
WIDE = 120
"""The width of a table where no terminal tells one."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and when it gives way."""

    title: str
    right: bool = False
    drop: int = 0
    """The highest is left out first where room is short; 0 stays."""
    least: int | None = None
    """May be cut down to this width; as wide as its widest cell by default."""


def grid(columns: Sequence[Column], rows: Sequence[tuple[Sequence[str], str]], width: int) -> list[Text]:
    """Lay out a title line, and a line for each row (cells and style), none wider than `width`."""
    cells = [[clean(cell) for cell in row] for row, _ in rows]
    titles = [clean(column.title) for column in columns]
    full = [max(cell_len(line[i]) for line in [titles, *cells]) for i in range(len(columns))]
    shown = _fitting(columns, full, width)
    spare = width - sum(_least(columns[i], full[i]) + GAP for i in shown) + GAP
    widths = {}
    for i in shown:
        least = _least(columns[i], full[i])
        widths[i] = min(full[i], least + max(0, spare))
        spare -= widths[i] - least
    styles = ["dim", *(style for _, style in rows)]
    return [_line(columns, line, widths, style, width) for line, style in zip([titles, *cells], styles, strict=True)]


def _least(column: Column, full: int) -> int:
    return full if column.least is None else min(full, column.least)


def _fitting(columns: Sequence[Column], full: Sequence[int], width: int) -> list[int]:
    shown = list(range(len(columns)))
    while sum(_least(columns[i], full[i]) + GAP for i in shown) - GAP > width:
        first = max(shown, key=lambda i: columns[i].drop)
        if columns[first].drop == 0:
            break
        shown.remove(first)
    return shown


def _line(columns: Sequence[Column], cells: Sequence[str], widths: dict[int, int], style: str, width: int) -> Text:
    parts = []
    for i, room in widths.items():
        cell = cut(cells[i], room)
        parts.append(" " * (room - cell_len(cell)) + cell if columns[i].right else set_cell_size(cell, room))
    return Text(cut((" " * GAP).join(parts).rstrip(), width), style=style, no_wrap=True)


def cut(text: str, width: int) -> str:
    """Cut a text that is too wide, and show it."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


def cut_front(text: str, width: int) -> str:
    """Cut the front of a name, whose end tells it from others: `…accuracy/top1`."""
    return text if len(text) <= width else "…" + text[-max(1, width - 1) :]


def clean(text: str) -> str:
    """Replace what would move the cursor or colour the screen."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def room(console: Console) -> int:
    """Tell how wide a line may be: where no terminal folds it, it may be wide."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS") else max(console.width, WIDE)


def number(value: Any) -> str:
    """Write a value of a metric, with the same digits as its neighbours."""
    return f"{value:#.5g}" if isinstance(value, float) else str(value)


def params_text(params: dict[str, Any]) -> str:
    """Write params in one line."""
    return "  ".join(f"{name}={_param(value)}" for name, value in params.items())


def _param(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def duration(seconds: float) -> str:
    """Write seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
