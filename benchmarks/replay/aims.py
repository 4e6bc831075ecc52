"""What the searches were to reach, and what they reached: the aims in SEARCH.md and REPORT.md."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.replay import figures
from benchmarks.replay.figures import Line, Regrets
from benchmarks.replay.place import RAW
from benchmarks.replay.tables import SMOOTH
from benchmarks.replay.trace import POINTS

AIMS = {("taskset", 10): 0.045, ("taskset", 25): 0.006, ("lcbench", 10): 0.08, ("lcbench", 25): 0.012}
"""The mean over the tasks at a budget."""
AIMING, OWN = "auto-table", "auto"
"""With the table's own configs as candidates, to which the aims belong; with candidates of its own."""
GUIDE, CHANCE, RUNS = "ray-guide", "random", 30
PEERS = (GUIDE, "optuna", "syne-asha", "syne-cqr")
OTHERS = (CHANCE, "random-asha", "random-quota", "random-promote", "random-hyperband", "tpe-asha", "tpe-promote")
"""This service's own, beside freeze-thaw."""
BUDGETS = (10, 25)
JUDGED, MISLEADING = 25, "misleading"
"""The budget at which nothing may be worse than random search, and the curves that were drawn to make it so."""

FEWEST = 5
"""With fewer runs a cell a method is not called the best of them."""
DEAREST = 50
"""Milliseconds of CPU that a suggestion may cost."""

Families = dict[str, dict[str, Regrets]]
Found = TypeVar("Found")
Row = tuple[str, str, str, bool | None]
"""(figure, seen, aim, reached)"""


def rows(families: Families, aims: Mapping[tuple[str, int], float] = AIMS) -> list[Row]:
    """Hold what was reached against what was aimed at, as far as it was played."""
    curves = recorded(families)
    found = [one for family, methods in curves.items() for budget in BUDGETS
             for one in _regret(family, methods, budget, aims.get((family, budget)))]  # fmt: skip
    found += [one for family, methods in curves.items() for one in _half(family, methods)]
    smooth = [methods for family, methods in families.items() if family.endswith(SMOOTH)]
    for method in (AIMING, OWN):
        found += _no_worse(f"recorded curves, `{method}`", method, list(curves.values()))
        found += _no_worse(f"curves made to mislead, `{method}`", method, [families.get(MISLEADING, {})])
        found += _no_worse(f"between the recorded configs, `{method}`", method, smooth)
    return found + [_runs(what, names, curves) for what, names in
                    (("freeze-thaw", (AIMING, OWN)), ("peers", PEERS), ("others", OTHERS))]  # fmt: skip


def recorded(families: Mapping[str, Found]) -> dict[str, Found]:
    """Keep the families that others recorded, those with aims first; played by other terms one is another family."""
    known = [name for name in dict.fromkeys(name for name, _ in AIMS) if name in families]
    more = [name for name in families if not name.startswith(MISLEADING) and SMOOTH not in name]
    return {name: families[name] for name in [*known, *more]}


def _runs(what: str, names: Sequence[str], families: Families) -> Row:
    """Tell how many runs a cell has at least."""
    played = [name for name in names if any(name in methods for methods in families.values())]
    counts = {name: min(_least(methods[name]) if name in methods else 0 for methods in families.values())
              for name in played}  # fmt: skip
    told = ", ".join(f"`{name}` {count}" for name, count in counts.items())
    return f"runs a cell, at least: {what}", told or "none", f"≥ {RUNS}", min(counts.values(), default=0) >= RUNS


def _regret(family: str, methods: dict[str, Regrets], budget: int, aim: float | None) -> list[Row]:
    """Tell the mean regret of both lines, and of the best of the others that played the same tasks often enough."""
    place = POINTS.index(budget)
    found: list[Row] = []
    for method in (one for one in (AIMING, OWN) if one in methods and figures.points(methods[one]) > place):
        mine, tasks = figures.mean(methods[method], place), methods[method].keys()
        figure = f"{family}, regret at {budget} full trainings, `{method}`"
        if method == AIMING and aim is not None:
            found.append((figure, _told(mine), f"≤ {aim:g}", mine[0] <= aim))
        else:
            found.append((figure, _told(mine), "–", None))
        for what, names in (("the best peer", PEERS), ("the best other search here", OTHERS)):
            means = {name: figures.mean({task: methods[name][task] for task in tasks}, place)
                     for name in names if _plays(methods.get(name, {}), tasks, place)}  # fmt: skip
            if means:
                best = min(means, key=means.__getitem__)
                seen = f"{_told(means[best])} (`{best}`, {_least(methods[best])} runs)"
                found.append((f"… and {what}", seen, "ahead", mine[0] < means[best][0]))
    return found


def _plays(found: Regrets, tasks: Collection[str], place: int) -> bool:
    return bool(found) and found.keys() >= set(tasks) and figures.points(found) > place and _least(found) >= FEWEST


def _least(found: Regrets) -> int:
    return min(len(seeds) for seeds in found.values())


def _told(mean: tuple[float, float]) -> str:
    return "{:.4f} ± {:.4f}".format(*mean).removesuffix(" ± nan")  # of one seed there is no error


def costs(groups: Mapping[str, Mapping[str, list[Line]]]) -> list[Row]:
    """Tell what a suggestion costs on the recorded curves, in runs of so many trials."""
    found: list[Row] = []
    for method in (AIMING, OWN):
        if lines := [line for methods in recorded(groups).values() for line in methods.get(method, [])]:
            suggestion, _, count, _ = figures.cost(lines)
            figure = f"CPU a suggestion, `{method}`, runs of {count:.0f} trials"
            found.append((figure, f"{suggestion:.1f} ms", f"≤ {DEAREST} ms", suggestion <= DEAREST))
    return found


def _half(family: str, methods: dict[str, Regrets]) -> list[Row]:
    """Tell the budgets for what Ray's guide has."""
    found: list[Row] = []
    if GUIDE not in methods:
        return found
    for method in (one for one in (AIMING, OWN) if one in methods and methods[one].keys() == methods[GUIDE].keys()):
        budgets = [budget for budget in (10, 25, 50) if POINTS.index(budget) < figures.points(methods[GUIDE])
                   and budget / 2 <= POINTS[figures.points(methods[method]) - 1]]  # fmt: skip
        if not budgets:
            continue
        curve, guide = figures.curve(methods[method]), figures.curve(methods[GUIDE])
        told, halves = [], []
        for budget in budgets:
            needed = figures.needed(curve, guide[POINTS.index(budget)])
            told.append("more" if needed is None else f"{needed:g}")
            halves.append(needed is not None and needed <= budget / 2)
        figure = f"{family}, trainings for what Ray's guide has at {', '.join(map(str, budgets))}, `{method}`"
        found.append((figure, ", ".join(told), f"≤ {', '.join(f'{budget / 2:g}' for budget in budgets)}", all(halves)))
    return found


def _no_worse(what: str, method: str, groups: list[dict[str, Regrets]]) -> list[Row]:
    """Name the tasks on which a method is worse than random search by more than two standard errors."""
    point = POINTS.index(JUDGED)
    pairs = [(task, seeds, methods[CHANCE][task]) for methods in groups if CHANCE in methods
             for task, seeds in methods.get(method, {}).items() if task in methods[CHANCE]]  # fmt: skip
    judged = [pair for pair in pairs if all(one.shape[1] > point and len(one) > 1 for one in pair[1:])]
    if not judged:
        return []
    worse = [task for task, seeds, chance in judged if figures.worse(seeds, chance, point)]
    seen = f"{len(worse)} of {len(judged)}" + (f": {', '.join(worse)}" if worse else "")
    return [(f"{what}: worse than random at {JUDGED}", seen, "none", not worse)]


def machines(folder: Path = RAW) -> dict[str, str]:
    """Join when, where and with what the methods were run."""
    about = json.loads((folder / "about.json").read_text())
    times = [one for many in about.values() for one in many]
    of = {key: list(dict.fromkeys(one[key] for one in times)) for key in ("hardware", "system", "commit")}
    packages = sorted({name for one in times for name in one["packages"].split(", ")})
    dates = sorted(one["date"] for one in times)
    facts = {key: "; ".join(values) for key, values in of.items()}
    return {"date": f"{dates[0]} to {dates[-1]}", **facts, "versions": ", ".join(packages)}
