"""What is shown on a terminal, as text."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console


def said(show: Any) -> str:
    console = Console(width=150, record=True, file=io.StringIO())
    show(console)
    return console.export_text()
