"""docs/api.md is what the docstrings say, and they have the house's form."""

from __future__ import annotations

import ast

import pytest

import tuner
from tuner.outputs import reference
from tuner.outputs.reference import SECTIONS, Entry
from tuner.trial import Trial

ENTRIES = [entry for entries in SECTIONS.values() for entry in entries]
RAISING = ("tuner.load", "tuner.run", "tuner.resume", "tuner.load_best", "tuner.Result")
NOUNS = ("A", "An", "The", "This", "It", "Here", "What", "How")


def said() -> list[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """List all that the page describes."""
    found = [(entry.name, reference.find(entry)) for entry in ENTRIES]
    return found + [(f"{entry.name}.{one.name}", one) for entry in ENTRIES for one in reference.members(entry)]


def test_the_page_is_fresh() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "make docs writes it"


def test_every_public_name_is_on_the_page() -> None:
    named = {entry.name for entry in ENTRIES}
    assert {f"tuner.{name}" for name in tuner.__all__} <= named
    (trial,) = (entry for entry in ENTRIES if entry.name == "tuner.Trial")
    public = {name for name in vars(Trial) if not name.startswith("_")}
    assert {one.name for one in reference.members(trial)} | set(trial.hidden) == public
    result = {name for name in vars(tuner.Result) if not name.startswith("_")}
    assert {one.name for one in reference.members(Entry("tuner.Result", "tuner/outputs/results.py"))} == result


@pytest.mark.parametrize(("name", "node"), said(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_docstring_is_one_line_then_what_else_matters(name: str, node: ast.FunctionDef | ast.ClassDef) -> None:
    text = ast.get_docstring(node)
    assert text, name
    first, _, rest = text.partition("\n")
    assert first.endswith(".") and len(first) <= 120
    assert not rest or rest.startswith("\n"), "the first line is a sentence of its own"
    if isinstance(node, ast.FunctionDef) and not reference.is_property(node):
        word = first.split()[0].rstrip(",")
        assert word not in NOUNS and not word.endswith(("s", "ing")), f"{name}: {word}: not an imperative"
    if name in (*RAISING, "tuner.Trial.track", "tuner.Trial.report"):
        assert "Raises\n" in text or "Raises " in text, name
