"""CONTRIBUTING.md, followed in a copy of the project: its examples are registered, and pass their contracts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

pytestmark = pytest.mark.slow

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)\n")
CONTRACTS = {
    "core/test_search.py": "univariate",
    "core/test_rule_contract.py": "patience",
    "outputs/test_logger_contract.py": "lines",
    "trainables/test_data_contract.py": "stripes",
    "trainables/test_trainable_contract.py": "linear",
}
"""The tests of each kind of part, and the example of it."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do what the page says, in its order."""
    copy = tmp_path_factory.mktemp("contributing")
    for name in ("tuner", "trainables", "search_spaces", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "frozen"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for language, text in FENCE.findall(PAGE):
        if language == "python" and (named := FILE.match(text)):
            (copy / named[1]).write_text(text[named.end() :])
        elif language == "diff":
            subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=copy, input=text, text=True, check=True)
    return copy


def test_each_kind_of_part_has_an_example_and_names_its_contract() -> None:
    written = {Path(found[1]).stem for _, text in FENCE.findall(PAGE) if (found := FILE.match(text))}
    assert written == set(CONTRACTS.values())
    for file in CONTRACTS:
        assert f"`tests/{file}`" in PAGE


def test_the_examples_pass_the_contracts_that_they_inherit(copy: Path) -> None:
    files = [f"tests/{file}" for file in CONTRACTS]
    names = " or ".join([*CONTRACTS.values(), "is_tried"])
    words = [sys.executable, "-m", "pytest", "-n", "0", "-vv", "-p", "no:cacheprovider", "-k", names, *files]
    done = subprocess.run(
        words, cwd=copy, env={**environment(), "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for name in CONTRACTS.values():
        assert f"[{name}" in done.stdout, f"no test has met {name}"


def test_the_examples_have_the_style_of_the_house(copy: Path) -> None:
    changed = [str(path.relative_to(copy)) for path in copy.rglob("*.py") if _differs(path, copy)]
    assert len(changed) > 10
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *changed], cwd=copy, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def _differs(path: Path, copy: Path) -> bool:
    ours = ROOT / path.relative_to(copy)
    return not ours.exists() or ours.read_bytes() != path.read_bytes()


def test_every_file_that_the_page_names_is_there() -> None:
    for named in re.findall(r"`((?:tests|tuner|trainables|benchmarks)/[\w/]+(?:\.py)?/?)`", PAGE):
        assert (ROOT / named).exists() or "NAME" in named, named
    for link in re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", PAGE)):
        assert (ROOT / link).exists(), link
