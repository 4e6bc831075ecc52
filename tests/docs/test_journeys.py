"""The journeys: their commands for real, the scripts that were brought over, and how many of their lines changed."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import blocks, prose, run
from reader import Reader
from support import ROOT, command, environment, records

from tuner.api import load
from tuner.core.records import Report, Session
from tuner.outputs.confirmed import winner
from tuner.outputs.results import read_state

pytestmark = pytest.mark.slow

LAPTOP, RESEARCHER, TEAM = (f"docs/journeys/{name}.md" for name in ("laptop", "researcher", "cluster"))
BEFORE, AFTER = (ROOT / "docs" / "journeys" / name for name in ("before", "after"))
COUNTED = re.compile(r"^\| \[.*\]\(before/(\w+)\.py\) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)


def changes(name: str) -> list[str]:
    """Compare a script with what has become of it; one that stayed as it was has no second file."""
    before, after = BEFORE / name, AFTER / name
    texts = [file.read_text().splitlines() for file in (before, after if after.exists() else before)]
    return list(difflib.unified_diff(*texts, n=0, lineterm=""))[2:]


def test_the_page_counts_the_lines_that_changed() -> None:
    rows = COUNTED.findall((ROOT / RESEARCHER).read_text())
    assert {name for name, *_ in rows} == {path.stem for path in BEFORE.glob("*.py")}
    for name, *said in rows:
        signs = [line[0] for line in changes(f"{name}.py")]
        lines = [len(file.read_text().splitlines()) for file in (BEFORE / f"{name}.py", AFTER / f"{name}.yaml")]
        assert list(map(int, said)) == [lines[0], signs.count("-"), signs.count("+"), lines[1]], name


def test_the_page_shows_what_changed() -> None:
    shown = [block.text.splitlines() for block in blocks(RESEARCHER) if block.language == "diff"]
    assert shown == [changes(f"fit_{name}.py") for name in ("lightning", "trainer", "optuna")]
    (yaml,) = (block for block in blocks(RESEARCHER) if block.language == "yaml")
    assert yaml.text == (AFTER / str(yaml.file)).read_text()


@pytest.mark.ray
@pytest.mark.usefixtures("alone")
def test_the_researcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (BEFORE, AFTER):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for yaml in tmp_path.glob("*.yaml"):
        load(yaml)
    Reader(tmp_path).follow(run(RESEARCHER))
    folder = tmp_path / "runs" / "digits"
    state, found = read_state(folder), records(folder)
    assert state.finished() and state.spec.trials == 30 and winner(state) is not None
    began = [place for place, record in enumerate(found) if isinstance(record, Session)]
    assert len(began) == 3
    assert any(isinstance(record, Report) for record in found[: began[1]]), "it was killed after its first report"
    epochs = [(record.trial, record.epoch) for record in found if isinstance(record, Report)]
    assert len(epochs) == len(set(epochs)), "what was saved is not trained twice"
    assert {"model.pt", "model.pt2", "model.safetensors"} <= {path.name for path in (folder / "best").iterdir()}


@pytest.mark.ray
@pytest.mark.usefixtures("alone")
def test_the_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Reader(tmp_path, real=True).follow(run(LAPTOP))
    assert (tmp_path / "runs" / "tumour" / "report.html").exists()
    cells = json.loads((ROOT / "docs" / "journeys" / "laptop.ipynb").read_text())["cells"]
    said, names = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(said):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    lines = said.getvalue().splitlines()
    assert len(lines) == 6
    assert all(re.fullmatch(r"malignant \d+%, benign \d+%; it was (malignant|benign)", line) for line in lines)


def test_the_seconds_of_the_laptop_add_up() -> None:
    *steps, total = re.findall(r"^\| .* \| ([\d.]+) \|$", prose(LAPTOP), re.MULTILINE)
    assert round(sum(map(float, steps))) == int(total) < 600, "within ten minutes"


@pytest.mark.usefixtures("alone")
def test_the_files_of_the_team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load both experiments and train a trial: not every machine can do what tests/machines tries with them."""
    monkeypatch.chdir(tmp_path)
    Reader(tmp_path).follow(run(TEAM))
    assert {file.name for file in tmp_path.iterdir()} == {"net.py", "ana.yaml", "ben.yaml"}
    sets = ("--set", f"storage={tmp_path}", "--set", "budget.epochs=1")
    subprocess.run(command("--space", "ben.yaml", "--local", *sets), env=environment(), check=True)
