"""Single values of YAML, by the core rules of version 1.2."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tuner.spec.yaml_nodes import YamlError, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-.5", -0.5), ("1.", 1.0), ("+3", 3), ("0", 0), ("-0", 0), ("0x1F", 31),
        ("0o17", 15),
        ("no", "no"), ("off", "off"), ("yes", "yes"), ("y", "y"), ("true", True), ("False", False), ("null", None),
        ("~", None), ("", None), ("1_000", "1_000"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("'3'", "3"),
        ('"true"', "true"), (".inf", math.inf), ("-.INF", -math.inf), ("nan", "nan"), ("1e", "1e"), ("e5", "e5"),
        ("[a, 1, [null]]", ["a", 1, [None]]), ("{a: {b: 2}}", {"a": {"b": 2}}), ("|\n  x\n", "x\n"),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    got = parse(f"key: {text}").value["key"]
    assert got == value and type(got) is type(value)


def test_nan_is_recognized() -> None:
    assert math.isnan(parse(".nan").value)


def test_each_key_and_item_knows_its_line() -> None:
    lines = parse("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n").lines
    assert lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5,
                     ("a", "c", 1, "d"): 5}  # fmt: skip


def test_an_alias_repeats_what_it_names() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n").value == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: &a {b: *a}", "x: [" + "1," * 20_000]
)
def test_no_text_exhausts_the_stack_or_the_memory(text: str) -> None:
    with pytest.raises(YamlError):
        parse(text)
