"""The reports of the benchmarks: they say what the kept figures say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import overview
from benchmarks.replay import methods, page


def test_the_report_tells_the_kept_figures() -> None:
    assert overview.page() == overview.REPORT.read_text(), "write it anew: python -m benchmarks.overview"


def test_the_page_of_the_searches_tells_the_kept_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(methods.SYNE, raising=False)
    report, drawn = tmp_path / "SEARCH.md", tmp_path / "search.svg"
    page.write(report=report, drawn=drawn)
    assert report.read_text() == page.REPORT.read_text(), "write it anew: python -m benchmarks.search --report"
    assert drawn.read_text() == page.PICTURE.read_text()
