"""The reports of the benchmarks: they say what the kept figures say."""

from __future__ import annotations

import json

import pytest
from support import ROOT

from benchmarks import mixed, overview
from benchmarks.replay import figures, methods, page
from benchmarks.replay.trace import POINTS

SHOWN = {
    "`auto`, from the table": "auto-table",
    "`auto`": "auto",
    "ASHA that promotes, at random": "random-promote",
    "ASHA that stops, at random": "random-quota",
    "the same without its quota, as in its paper": "random-asha",
    "Ray Tune's guide: OptunaSearch and ASHA": "ray-guide",
    "Optuna alone: TPE and its Hyperband pruner": "optuna",
    "Syne Tune's ASHA": "syne-asha",
    "random search": "random",
}
"""The rows of the table in docs/search/auto.md, and their methods."""

STOPPING = {
    "random params, with the quota": "random-quota",
    "random params, `quota: false`": "random-asha",
    "random params, `promote: true`": "random-promote",
    "random params, Hyperband's brackets": "random-hyperband",
    "random params, all to their end": "random",
}
"""The rows of the table in docs/schedulers/asha.md, and their methods."""

MISLED = {
    "cross: whoever learns fastest ends worst": "crossing",
    "stay on a plateau for most of the training": "plateau",
    "have a narrow optimum far from a wide one": "narrow",
    "are as noisy as they differ": "noisy",
    "diverge, every third of them": "diverging",
    "are far behind for two thirds of the training and then ahead, one in five": "late",
}
"""The rows of its table of curves that mislead, and their tasks."""


def test_the_report_tells_the_kept_figures() -> None:
    assert overview.page() == overview.REPORT.read_text(), "write it anew: python -m benchmarks.overview"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("gpus", "{ours} trials of 60 ran out of memory against {peers}, which is {ratio} %; the best was {best}"),
        ("compare", "{ours} of 60 trials ran out of memory here, and {peers} in Ray Tune with Optuna"),
    ],
)
def test_the_pages_tell_the_edge_of_memory_as_it_is_kept(page: str, told: str) -> None:
    kept = json.loads((ROOT / "benchmarks" / "raw" / "memory_edge.json").read_text())
    (ours, peers), (mine, theirs) = kept["out_of_memory"].values(), kept["best"].values()
    better, seeds = kept["better_in"], len(kept["found"]["ours"])
    best = f"{mine:.3f} against {theirs:.3f} in the mean, and better for {better} of the {seeds} seeds"
    facts = {"ours": f"{ours:.1f}", "peers": f"{peers:.1f}", "ratio": round(100 * kept["ratio"]), "best": best}
    assert told.format(**facts) in " ".join((ROOT / "docs" / f"{page}.md").read_text().split())


def test_the_page_of_the_searches_tells_the_kept_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(methods.SYNE, raising=False)
    for file, text in page.render().items():
        assert file.read_text() == text, f"write {file.name} anew: python -m benchmarks.search --report"


def table_of(page: str, rows: dict[str, str]) -> dict[str, list[str]]:
    """Read the cells of some rows of a page below docs."""
    lines = [line.split("|") for line in (ROOT / "docs" / page).read_text().splitlines()]
    told = {cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in lines
            if len(cells) > 3 and cells[1].strip() in rows}  # fmt: skip
    assert told.keys() == rows.keys()
    return told


def test_the_page_of_auto_tells_what_was_found_among_choices() -> None:
    assert mixed.table(mixed.kept()) in (ROOT / "docs" / "search" / "auto.md").read_text(), (
        "python -m benchmarks.mixed prints the table"
    )


def test_the_page_of_auto_tells_what_misleads_as_it_is_kept() -> None:
    families, told = page.regrets(page.groups()), table_of("search/auto.md", MISLED)
    for label, task in MISLED.items():
        found = [
            families["misleading"][method][task][:, POINTS.index(25)] for method in ("auto", "auto-table", "random")
        ]
        assert told[label] == [f"{one.mean():.2f}".removeprefix("0") for one in found], label


@pytest.mark.parametrize(("name", "rows"), [("search/auto.md", SHOWN), ("schedulers/asha.md", STOPPING)])
def test_a_page_tells_the_kept_figures(name: str, rows: dict[str, str]) -> None:
    families, told = page.regrets(page.groups()), table_of(name, rows)
    for label, method in rows.items():
        means = [", ".join(f"{figures.mean(families[family][method], POINTS.index(budget))[0]:.3f}".removeprefix("0")
                           for budget in (10, 25)) for family in ("taskset", "lcbench")]  # fmt: skip
        assert told[label] == means, label
