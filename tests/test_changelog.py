"""CHANGELOG.md has the form of Keep a Changelog, and its newest version is the one that is built."""

from __future__ import annotations

import datetime
import re
import tomllib

from support import ROOT

import tuner

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
TITLE = re.compile(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)")


def test_the_newest_version_is_the_one_that_is_built() -> None:
    first, *versions = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    found = [TITLE.fullmatch(version) for version in versions]
    assert first == "[Unreleased]" and found and all(found)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert found[0] and found[0][1] == built == tuner.__version__
    numbers = [tuple(map(int, one[1].split("."))) for one in found if one]
    dates = [datetime.date.fromisoformat(one[2]) for one in found if one]
    assert numbers == sorted(numbers, reverse=True) and dates == sorted(dates, reverse=True)


def test_changes_stand_under_the_kinds_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= KINDS
    assert "keepachangelog.com" in text
