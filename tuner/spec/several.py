"""The rules between keys where there are several objectives, or only one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tuner.spec.kinds import Asha, Hyperband, NoScheduler, Pbt
from tuner.spec.model import Broken, Place
from tuner.spec.words import brief, did_you_mean, listed, shown

if TYPE_CHECKING:
    from tuner.spec.rules import Parts

SEARCHES = ("tpe", "nsga2", "random", "qmc", "grid")
"""Those that can have several objectives."""
BY: Place = ("scheduler", "by")


def check(parts: Parts) -> Iterator[Broken]:
    """Yield what does not go with the number of objectives."""
    metrics = [objective.metric for objective in parts.objectives]
    if parts.has_constraints and parts.start.runs:
        yield Broken(("start", "runs"), "must be left out where there are constraints, which earlier trials may break "
                     "unseen, but got it", "Give their best params as start.points.")  # fmt: skip
    for i, metric in enumerate(metrics):
        if metric in metrics[:i]:
            yield Broken(("objective", i, "metric"), f"must be named once, but got {metric} a second time",
                         "Remove one of them.")  # fmt: skip
    if len(metrics) > 1:
        yield from _search(parts)
        yield from _scheduler(parts, metrics)
        yield from _one_best(parts)
    elif metrics and isinstance(parts.scheduler, Asha | Hyperband | Pbt) and parts.scheduler.by is not None:
        yield Broken(BY, f"must be left out where there is one objective, but got {shown(parts.scheduler.by)}",
                     "Remove it, or give a list of objectives.")  # fmt: skip


def _search(parts: Parts) -> Iterator[Broken]:
    if parts.search is not None and parts.search.kind not in SEARCHES:
        what = f"must be {listed(SEARCHES)} where there are several objectives, but got {parts.search.kind}"
        yield Broken(("search", "kind"), what, "Write kind: tpe, or kind: nsga2.")


def _scheduler(parts: Parts, metrics: list[str]) -> Iterator[Broken]:
    scheduler = parts.scheduler
    if scheduler is None or isinstance(scheduler, NoScheduler) or (parts.search and parts.search.kind == "auto"):
        return
    if not isinstance(scheduler, Asha | Hyperband | Pbt):
        what = "must be none, asha, hyperband or pbt where there are several objectives, "
        yield Broken(("scheduler", "kind"), f"{what}but got {scheduler.kind}", "Write kind: asha, by: nondomination.")
    elif scheduler.by is None:
        what = f"must be given where there are several objectives ({', '.join(metrics)}), but got nothing"
        weights = ", ".join(f"{metric}: 1" for metric in metrics)
        yield Broken(BY, what, f"Write by: nondomination, by: {{{weights}}}, or scheduler: {{kind: none}}.")
    elif isinstance(scheduler.by, dict):
        yield from _weights(scheduler.by, metrics)


def _weights(weights: Mapping[str, float], metrics: list[str]) -> Iterator[Broken]:
    for name, weight in weights.items():
        if name not in metrics:
            yield Broken((*BY, name), f"must name an objective, but got {name}", did_you_mean(name, metrics))
        elif weight <= 0:
            yield Broken((*BY, name), f"must be above 0, but got {brief(weight)}", "Use a small weight, such as 0.01.")
    if missing := [metric for metric in metrics if metric not in weights]:
        yield Broken(BY, f"must give each objective a weight, but got none for {', '.join(missing)}",
                     f"Add {missing[0]}: 1, say.")  # fmt: skip


def _one_best(parts: Parts) -> Iterator[Broken]:
    """Refuse what needs one best trial."""
    if parts.has_target:
        yield Broken(("budget", "target"), "must be left out where there are several objectives, of which none alone "
                     "tells that the run is done, but got it", "Remove it, or write it as a constraint.")  # fmt: skip
    if parts.start.runs:
        yield Broken(("start", "runs"), "must be left out where there are several objectives, since of an earlier run "
                     "one metric is learned, but got it", "Give their best params as start.points.")  # fmt: skip
    if parts.confirms:
        yield Broken(("confirm",), "must be left out where there are several objectives, since it looks for one best, "
                     "but got it", "Remove it, or give one objective and constraints.")  # fmt: skip
