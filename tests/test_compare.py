"""docs/compare.md says what benchmarks/raw/compare.json holds, and how long the programs are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare.lines import FILES, count, lines
from benchmarks.compare.page import PAGE, RAW, TABLES, rendered


@pytest.fixture(scope="module")
def data() -> Any:
    return json.loads(RAW.read_text())


def test_the_page_holds_every_table_as_it_was_measured(data: Any) -> None:
    page = PAGE.read_text()
    for name in TABLES:
        assert page.count(f"<!-- table: {name} -->") == 1
    assert rendered(page, data) == page


def test_the_programs_are_as_long_as_the_page_says(data: Any) -> None:
    assert data["lines"] == {contender: count(contender) for contender in FILES}


def test_only_code_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text('"""One.\n\nTwo.\n"""\n\n# a comment\ndef f():\n    """Three."""\n    return "#"  # goes on\n')
    assert lines(file) == ["def f():", 'return "#"  # goes on']
    file.with_suffix(".yaml").write_text("# a comment\n\nseed: 0\n")
    assert lines(file.with_suffix(".yaml")) == ["seed: 0"]


def test_what_the_page_says_in_words_was_seen(data: Any) -> None:
    faults, here = data["faults"], {name: found["tuner"] for name, found in data["faults"].items()}
    assert all(one["ends"][-1]["exit"] == [0] and one["trials"] for one in here.values())
    nan = {who: one["nan_epochs"] - one["nan_trials"] for who, one in faults["nan"].items()}
    assert nan["ray"] > nan["tuner"] == nan["optuna"] == 0, "only Ray Tune trains on"
    assert faults["memory"]["ray"]["trials"]["ERROR"] and faults["memory"]["optuna"]["trials"]["FAIL"]
    assert set(here["memory"]["trials"]) <= {"finished", "stopped"}, "what did not fit was trained in parts"
    assert set(here["trial"]["trials"]) <= {"finished", "stopped"}, "the killed one has gone on"
    assert faults["trial"]["ray"]["trials"] == {"TERMINATED": 10}
    assert len(here["disk"]["ends"]) == 1 and len(faults["disk"]["optuna"]["ends"]) == 2
    assert all(here[name]["twice"] == here[name]["not_kept"] == 0 for name in ("driver", "trial", "disk"))
