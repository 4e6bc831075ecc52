"""Write docs/events.md from the records: `python -m tuner.outputs.document`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from tuner.core import records

PAGE = Path(__file__).resolve().parents[2] / "docs" / "events.md"
HEAD = """# Events: one line of JSON each
<!-- Written by `python -m tuner.outputs.document` from tuner/core/records.py; change that, not this page. -->
`--json` writes the run's records to stdout, one object a line, as they are written to the ledger; progress, notes and
the results are on stderr. On a resume those of earlier sessions come first. A program that reads them passes over
kinds and fields that it does not know: later versions add some.

- Every object has `kind` and `time`, in seconds since 1970 (UTC), and all fields of its kind. A field that has nothing
  to tell holds the default that is given; those in **bold** always tell something.
- Types are named as in Python: `None` is null, a `dict` is an object.
- JSON has no number for NaN and infinity: they are `{"$float": "nan"}`, `{"$float": "inf"}`, `{"$float": "-inf"}`.
- Outcomes are `finished`, `stopped`, `diverged`, `failed`, `infeasible`, `lost`, `stalled` and `killed`.
- A trial is over with a report whose `decision.action` is `end`, with `ended`, or with an `asked` or `tick` that ends
  them all. The run is over when the process ends; its exit code says how.

This shows each report as it comes:

```python
# watch.py
import json
import sys

for line in sys.stdin:
    event = json.loads(line)
    if event["kind"] == "report":
        print(event["trial"], event["epoch"], event["metrics"])
```

<!-- not run: a real run; tests/outputs gives the program the records of one -->
```sh
python launch.py --space debug.yaml --json | python watch.py
```
"""
PARTS = ("Decision", "Mark", "Clone")
"""What stands inside of a report."""


def page() -> str:
    """Make the page."""
    classes = {node.name: node for node in ast.parse(inspect.getsource(records)).body if isinstance(node, ast.ClassDef)}
    sections = [_section(f"`{kind}`", classes[made.__name__]) for kind, made in records.KINDS.items()]
    parts = [_section(f"Inside a report: {name.lower()}", classes[name]) for name in PARTS]
    return "\n".join([HEAD, *sections, *parts])


def _section(title: str, node: ast.ClassDef) -> str:
    lines = [
        f"## {title}",
        ast.get_docstring(node) or "",
        "",
        "| field | type | default | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {kind} | {default} | {meaning} |" for name, kind, default, meaning in fields(node)]
    return "\n".join(lines).replace("|  |", "| |").replace("|  |", "| |") + "\n"


def fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """Walk over the fields, each with the text that stands below it."""
    for field, below in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name) or field.target.id == "kind":
            continue
        name, kind = field.target.id, ast.unparse(field.annotation).replace("|", "or")
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
        meaning = " ".join(str(text).split())
        needed = field.value is None
        yield f"**`{name}`**" if needed else f"`{name}`", f"`{kind}`", "" if needed else _default(field.value), meaning


def _default(value: ast.expr | None) -> str:
    return "`{}`" if isinstance(value, ast.Call) else f"`{ast.unparse(value)}`" if value else ""


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
