"""`--json`: one object a line, and the page that tells what is in them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from tuner.core.records import KINDS, Clone, Decision, Mark
from tuner.ledger import read
from tuner.outputs import document
from tuner.outputs.events import Events

from .runs_made import MIXED, experiment, shown, simulated


def events(folder: Path) -> str:
    """Write a run's events, as a driver does."""
    stream = io.StringIO()
    shown(simulated(folder, experiment(space=MIXED, scheduler={"kind": "asha"})), Events(stream))
    return stream.getvalue()


def test_every_line_is_an_object_with_the_fields_of_its_kind(tmp_path: Path) -> None:
    lines = events(tmp_path / "run").splitlines()
    assert len(lines) == len(read(tmp_path / "run"))
    for line in lines:
        event = json.loads(line)
        assert event.keys() == {"kind", *(field.name for field in fields(KINDS[event["kind"]]))}


def test_the_page_is_fresh_and_knows_every_field() -> None:
    page = document.page()
    assert document.PAGE.read_text(encoding="utf-8") == page
    sections = {f"`{kind}`": made for kind, made in KINDS.items()}
    sections |= {f"Inside a report: {made.__name__.lower()}": made for made in (Decision, Mark, Clone)}
    for title, made in sections.items():
        section = page.split(f"## {title}\n")[1].split("\n## ")[0]
        told = re.findall(r"^\| \*{0,2}`(\w+)`", section, re.MULTILINE)
        assert [*told, "time"] == [field.name for field in fields(made) if field.name != "time"] + ["time"]


def test_the_program_of_the_page_reads_them(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", document.HEAD, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], input=events(tmp_path / "run"), capture_output=True, text=True, check=True
    )
    reports = [record for record in read(tmp_path / "run") if record.kind == "report"]
    assert len(done.stdout.splitlines()) == len(reports)
