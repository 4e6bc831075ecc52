"""Where the regret that is left comes from: configs that were never begun, or begun and not trained on."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.replay import figures
from benchmarks.replay.figures import Line
from benchmarks.replay.trace import POINTS

BUDGETS = (10, 25)
TOLD = 3
"""So many tasks are named."""
HEAD = ["", *(f"{what} {budget}" for budget in BUDGETS for what in ("regret at", "of it never begun at")), "runs"]
TEXT = """Where it comes from: one part is the regret of the best config begun, were it trained to its end; the rest
lies in configs that were begun and not trained on. Of the runs that kept this:
"""


def rows(methods: Mapping[str, list[Line]]) -> list[list[str]]:
    """Tell for each method its regret and how much of it lies in what was never begun, means over tasks."""
    found = []
    for name, lines in methods.items():
        whole = [line for line in lines if "missed" in line]
        regret, missed = figures.regrets(whole), figures.regrets(whole, "missed")
        if whole and POINTS.index(BUDGETS[-1]) < figures.points(regret):
            places = [POINTS.index(budget) for budget in BUDGETS]
            cells = [f"{figures.mean(one, place)[0]:.4f}" for place in places for one in (regret, missed)]
            found.append([f"`{name}`", *cells, str(len(whole))])
    return found


def tasks(name: str, lines: list[Line]) -> str:
    """Name the tasks that have most of what a method leaves at the last of the budgets."""
    point = POINTS.index(BUDGETS[-1])
    means = {task: one[:, point].mean() for task, one in figures.regrets(lines).items()}
    all_of_it = sum(means.values())
    most = sorted(means, key=lambda task: -means[task])[:TOLD]
    parts = ", ".join(f"{task} has {means[task] / all_of_it:.0%}" for task in most)
    return f"Of what `{name}` leaves at {BUDGETS[-1]} over all {len(means)} tasks, {parts}.\n" if all_of_it else ""
