"""What `benchmarks/search.py` keeps of the cells that it played, where it keeps it, and what it tells of it."""

from __future__ import annotations

import json
from pathlib import Path

import curves_made
import numpy as np
import pytest

from benchmarks import search
from benchmarks.replay import cells, figures, page, place
from benchmarks.replay.place import Place
from benchmarks.replay.tables import load


def test_a_run_that_used_up_its_table_stays_at_what_it_found_and_a_smaller_budget_is_left_out() -> None:
    whole = {"task": "t", "budget": 2, "regret": [0.9, 0.8, 0.7, 0.6]}
    used_up, small = {**whole, "regret": [0.9, 0.5]}, {**whole, "budget": 1, "regret": [0.1, 0.1]}
    assert figures.regrets([whole, used_up, small])["t"].tolist() == [[0.9, 0.8, 0.7, 0.6], [0.9, 0.5, 0.5, 0.5]]


def test_an_interrupted_benchmark_goes_on_and_is_reported(tmp_path: Path) -> None:
    larger = curves_made.larger(tmp_path)
    kept, tasks = larger / "kept", load(larger, ["made"])
    terms = {"budget": 5, "workers": 4, "seconds": False}
    todo = cells.jobs(["random", "random-promote"], tasks, 2, terms, kept)
    assert len(todo) == 4
    assert cells.play(todo[:3], larger, 1, kept) == []
    with (kept / "random.jsonl").open("a") as file:
        file.write('{"method":"random","fam')
    assert cells.jobs(["random", "random-promote"], tasks, 2, terms, kept) == todo[3:]
    cells.note(["random"], kept)
    page.write(Place(kept, larger / "SEARCH.md", larger))
    text = (larger / "SEARCH.md").read_text()
    assert "![Regret over the budget](search.svg)" in text and "in `kept/`" in text
    assert "| `random-promote` |" in text and "`tpe-asha`: TPE, stopping ASHA as in its paper. Not run" in text
    assert (larger / "search.svg").read_text().count("<polyline") == 2


def test_cells_of_other_curves_go_elsewhere_and_are_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = curves_made.larger(curves_made.tiny(tmp_path))
    kept = Place(folder / "raw" / "search", folder / "SEARCH.md", folder)
    monkeypatch.setattr(place, "KEPT", kept)
    kept.cells.mkdir(parents=True)
    (folder / "tiny" / "t.npz").rename(folder / "t.npz")
    flags = ["--data", str(folder), "--methods", "random", "random-promote", "--tasks", "made", "--jobs", "1"]
    search.main([*flags, "--runs", "1", "--budget", "5"])
    report = Path(capsys.readouterr().out.strip())
    assert report.parent == kept.cells.with_name(f"search-{place.fingerprint(folder)[:8]}")
    assert "## made" in report.read_text() and not kept.report.exists()
    (kept.cells / place.DATA).write_text(place.fingerprint(folder) + "\n")
    assert place.choose(folder, None) == place.choose(None, None) == kept, "the curves that are kept"
    (folder / "made" / "t.npz").write_bytes(b"others")
    with pytest.raises(SystemExit, match="--out: must be a folder for these curves"):
        place.choose(folder, report.parent)


def test_a_cell_by_other_terms_does_not_take_the_place_of_one_that_is_kept(tmp_path: Path) -> None:
    cell = {"method": "random", "family": "made", "task": "bowl", "seed": 0, "seconds": False}
    played = [{**cell, "workers": workers, "budget": budget} for workers, budget in ((8, 50), (2, 50), (8, 5))]
    (tmp_path / "random.jsonl").write_text("".join(json.dumps(line) + "\n" for line in played))
    assert cells.kept(tmp_path) == played[:2]
    assert list(page.groups(tmp_path)) == ["made", "made with 2 workers"]


def test_interquartile_mean() -> None:
    assert figures.interquartile_mean(np.array([100.0, 2, 3, -50])) == 2.5
    assert figures.interquartile_mean(np.array([9.0, 1, 2, 3, 0])) == pytest.approx((0.75 + 2 + 0.75 * 3) / 2.5)
    assert figures.needed(np.array([1.0, 0.5, 0.2]), 0.5) == 1
