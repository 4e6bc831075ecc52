"""What the searches were to reach, and what they reached: the lines on searches in REPORT.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.replay import figures
from benchmarks.replay.cells import RAW
from benchmarks.replay.figures import Line, Regrets
from benchmarks.replay.tables import SMOOTH
from benchmarks.replay.trace import POINTS

AIMS = {("taskset", 10): 0.045, ("taskset", 25): 0.006, ("lcbench", 10): 0.08, ("lcbench", 25): 0.012}
"""The mean over the tasks at a budget."""
AIMING, OWN = "auto-table", "auto"
"""With the table's own configs as candidates, to which the aims belong; with candidates of its own."""
GUIDE, CHANCE, RUNS = "ray-guide", "random", 30
PEERS = (GUIDE, "optuna", "syne-asha", "syne-cqr")
OTHERS = (CHANCE, "random-asha", "random-quota", "random-promote", "random-hyperband")
"""This service's own, beside freeze-thaw, but for TPE, which has three runs a cell: LOG.md holds it against the same
seeds of others.
"""
JUDGED, MISLEADING = 25, "misleading"
"""The budget at which nothing may be worse than random search, and the curves that were drawn to make it so."""

DEAREST = 50
"""Milliseconds of CPU that a suggestion may cost."""

Families = dict[str, dict[str, Regrets]]
Row = tuple[str, str, str, bool | None]
"""(figure, seen, aim, reached)"""


def rows(families: Families) -> list[Row]:
    """Hold what was reached against what was aimed at."""
    recorded = {family: families[family] for family in dict.fromkeys(name for name, _ in AIMS) if family in families}
    found = [one for (family, budget), aim in AIMS.items() if family in families
             for one in _regret(family, families[family], budget, aim)]  # fmt: skip
    found += [one for family, methods in recorded.items() for one in _half(family, methods)]
    for method in (AIMING, OWN):
        found += [_no_worse(f"recorded curves, `{method}`", method, list(recorded.values()))]
        if MISLEADING in families:
            found += [_no_worse(f"curves made to mislead, `{method}`", method, [families[MISLEADING]])]
    smooth = [methods for family, methods in families.items() if family.endswith(SMOOTH)]
    if between := [methods for methods in smooth if {OWN, CHANCE} <= methods.keys()]:
        found += [_no_worse(f"between the recorded configs, `{OWN}`", OWN, between)]
    counts = [len(seeds) for methods in recorded.values() for name in (AIMING, OWN) for seeds in methods[name].values()]
    return [*found, ("runs a cell of freeze-thaw, at least", str(min(counts)), f"≥ {RUNS}", min(counts) >= RUNS)]


def _regret(family: str, methods: dict[str, Regrets], budget: int, aim: float) -> list[Row]:
    """Tell the mean regret of both lines, and of the best of the others."""
    place = POINTS.index(budget)
    means = {name: figures.mean(one, place)[0] for name, one in methods.items() if figures.points(one) > place}
    found: list[Row] = []
    for method in (AIMING, OWN):
        mine, is_held = means[method], method == AIMING
        figure = f"{family}, regret at {budget} full trainings, `{method}`"
        found.append((figure, f"{mine:.4f}", f"≤ {aim:g}" if is_held else "–", mine <= aim if is_held else None))
        for what, names in (("the best peer", PEERS), ("the best other search here", OTHERS)):
            best = min((name for name in names if name in means), key=means.__getitem__)
            found.append((f"… and {what}", f"{means[best]:.4f} (`{best}`)", "ahead", mine < means[best]))
    return found


def costs(groups: Mapping[str, Mapping[str, list[Line]]]) -> list[Row]:
    """Tell what a suggestion costs on the recorded curves, in runs of so many trials."""
    found: list[Row] = []
    for method in (AIMING, OWN):
        lines = [line for family in dict.fromkeys(name for name, _ in AIMS) for line in groups[family][method]]
        suggestion, _, count, _ = figures.cost(lines)
        figure = f"CPU a suggestion, `{method}`, runs of {count:.0f} trials"
        found.append((figure, f"{suggestion:.1f} ms", f"≤ {DEAREST} ms", suggestion <= DEAREST))
    return found


def _half(family: str, methods: dict[str, Regrets]) -> list[Row]:
    """Tell the budgets for what Ray's guide has."""
    found: list[Row] = []
    for method in (AIMING, OWN):
        curve = np.array([figures.mean(methods[method], point)[0] for point in range(figures.points(methods[method]))])
        told, halves = [], []
        for budget in (10, 25, 50):
            needed = figures.needed(curve, figures.mean(methods[GUIDE], POINTS.index(budget))[0])
            told.append("more" if needed is None else f"{needed:g}")
            halves.append(needed is not None and needed <= budget / 2)
        figure = f"{family}, trainings for what Ray's guide has at 10, 25, 50, `{method}`"
        found.append((figure, ", ".join(told), "≤ 5, 12.5, 25", all(halves)))
    return found


def _no_worse(what: str, method: str, groups: list[dict[str, Regrets]]) -> Row:
    """Name the tasks on which a method is worse than random search by more than two standard errors."""
    point = POINTS.index(JUDGED)
    count = sum(len(methods[method]) for methods in groups)
    worse = [task for methods in groups for task, seeds in methods[method].items()
             if figures.worse(seeds, methods[CHANCE][task], point)]  # fmt: skip
    seen = f"{len(worse)} of {count}" + (f": {', '.join(worse)}" if worse else "")
    return f"{what}: worse than random at {JUDGED}", seen, "none", not worse


def machines(folder: Path = RAW) -> dict[str, str]:
    """Join when, where and with what the methods were run."""
    about = json.loads((folder / "about.json").read_text())
    times = [one for many in about.values() for one in many]
    of = {key: list(dict.fromkeys(one[key] for one in times)) for key in ("hardware", "system", "commit")}
    packages = sorted({name for one in times for name in one["packages"].split(", ")})
    dates = sorted(one["date"] for one in times)
    facts = {key: "; ".join(values) for key, values in of.items()}
    return {"date": f"{dates[0]} to {dates[-1]}", **facts, "versions": ", ".join(packages)}
