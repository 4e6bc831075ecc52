"""How many lines a user writes beside the model."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
FILES = {"ray": ("ray_tune.py",), "optuna": ("optuna_alone.py",), "tuner": ("ours.py", "ours.yaml")}
GOES_ON = "# goes on"
"""Ends a line that is there only so that the job goes on after a fault."""


def count(contender: str) -> dict[str, int]:
    """Count a contender's lines: all of them, and those that are there only to go on after a fault."""
    written = [line for name in FILES[contender] for line in lines(PROGRAMS / name)]
    return {"all": len(written), "goes_on": sum(line.endswith(GOES_ON) for line in written)}


def lines(path: Path) -> list[str]:
    """List what is code: no blank lines, no comments, no docstrings."""
    text = path.read_text()
    left_out = set(docstrings(text)) if path.suffix == ".py" else set()
    numbered = enumerate((line.strip() for line in text.splitlines()), 1)
    return [line for number, line in numbered if line and not line.startswith("#") and number not in left_out]


def docstrings(text: str) -> Iterable[int]:
    """Give the numbers of the lines that docstrings stand on."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)
