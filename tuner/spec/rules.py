"""The rules between keys, over whatever parts of a spec are valid by themselves."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.spec import priors, several
from tuner.spec import space as spaces
from tuner.spec.kinds import Asha, Hyperband, Median, Pbt, SomeScheduler, SomeSearch
from tuner.spec.model import Broken, Place
from tuner.spec.objective import Objective
from tuner.spec.resources import Resources, entries
from tuner.spec.resources import check as check_resources
from tuner.spec.space import Choice, Float, SomeDimension, can_be
from tuner.spec.start import Start
from tuner.spec.words import did_you_mean, shown

MOST_GRID_POINTS = 1_000_000


@dataclass(frozen=True)
class Parts:
    """The valid parts of a spec: None, or left out of `space`, where a part is not valid."""

    names: Sequence[str]
    """All names in `space`, those of dimensions that are not valid too."""
    space: Mapping[str, SomeDimension]
    fixed: Mapping[str, Any]
    start: Start
    search: SomeSearch | None
    scheduler: SomeScheduler | None
    trials: int | None
    epochs: int | None
    resources: Resources | Sequence[Resources]
    confirms: bool
    objectives: Sequence[Objective]
    has_target: bool
    has_constraints: bool


def check(parts: Parts) -> Iterator[Broken]:
    """Yield every rule between keys that is broken."""
    yield from _names(parts)
    yield from _conditions(parts)
    yield from _search(parts)
    yield from priors.check(parts.space, parts.search)
    yield from _scheduler(parts)
    yield from _points(parts)
    yield from _resources(parts)
    yield from several.check(parts)
    if parts.confirms and isinstance(parts.scheduler, Pbt):
        yield Broken(("confirm",), "must be left out where scheduler.kind is pbt, whose trials change their params on "
                     "the way, so that none can be repeated, but got it", "Use scheduler.kind: asha.")  # fmt: skip


def _names(parts: Parts) -> Iterator[Broken]:
    for name in parts.fixed:
        if name in parts.names:
            yield Broken(("fixed", name), "must stand in space or in fixed, but got it in both", "Remove one of them.")
    for section, names in (("space", parts.names), ("fixed", parts.fixed)):
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name):
                yield Broken((section, name), f"must be a name that a Python parameter can have, but got {shown(name)}",
                             "Use letters, digits and underscores.")  # fmt: skip


def _conditions(parts: Parts) -> Iterator[Broken]:
    for name, dimension in parts.space.items():
        for other, wanted in dimension.when.items():
            yield from _condition(parts, ("space", name, "when", other), other, wanted)
    try:
        spaces.order(parts.space)
    except ValueError as error:
        yield Broken(("space",), str(error), "Remove one of their `when`.")


def _condition(parts: Parts, place: Place, other: str, wanted: Any) -> Iterator[Broken]:
    options = wanted if isinstance(wanted, list) else [wanted]
    if other not in parts.names:
        yield _unnamed(parts, place, other)
    elif not options:
        yield Broken(place, "must be a value or a list of values, but got an empty list", "Give one value at least.")
    elif other in parts.space:
        for value in options:
            if not parts.space[other].contains(value):
                yield Broken(place, f"must be a value that space.{other} can have, but got {shown(value)}",
                             can_be(parts.space[other]))  # fmt: skip


def _search(parts: Parts) -> Iterator[Broken]:
    if parts.search is None:
        return
    kind = parts.search.kind
    conditional = ", ".join(name for name, dimension in parts.space.items() if dimension.when)
    if kind in ("grid", "qmc", "cmaes") and conditional:
        yield Broken(
            ("search", "kind"),
            f"must be auto, tpe, gp, nsga2 or random where a parameter has `when` ({conditional}), since {kind} needs "
            f"the same parameters in every trial, but got {kind}",
            "Write kind: tpe.",
        )
    if kind == "cmaes" and parts.has_constraints:
        yield Broken(("search", "kind"), "must be another kind where there are constraints, of which cmaes cannot be "
                     "told, but got cmaes", "Write kind: tpe, or kind: gp.")  # fmt: skip
    if kind == "grid":
        yield from _grid(parts)
    for name, dimension in parts.space.items():
        if kind == "cmaes" and isinstance(dimension, Choice):
            yield Broken(("space", name), "must be a float or an int where search.kind is cmaes, but got a choice",
                         "Write search: {kind: tpe}.")  # fmt: skip


def _grid(parts: Parts) -> Iterator[Broken]:
    endless = [n for n, dimension in parts.space.items() if isinstance(dimension, Float) and dimension.step is None]
    for name in endless:
        yield Broken(("space", name), "must have step or be a choice where search.kind is grid, but got neither",
                     "Add step, or write dist: choice with values.")  # fmt: skip
    if not endless and (size := spaces.grid_size(parts.space)) > MOST_GRID_POINTS:
        yield Broken(("space",), f"must have at most {MOST_GRID_POINTS:,} points where search.kind is grid, "
                     f"but got {size:,}", "Use larger steps, or search.kind: qmc.")  # fmt: skip


def _scheduler(parts: Parts) -> Iterator[Broken]:
    scheduler = parts.scheduler
    if isinstance(scheduler, Asha | Hyperband | Median):
        yield from _at_most_epochs(parts, "grace_epochs", scheduler.grace_epochs)
    if isinstance(scheduler, Pbt):
        yield from _at_most_epochs(parts, "interval_epochs", scheduler.interval_epochs)
        yield from _mutate(parts, scheduler.mutate or ())
        if parts.trials is not None and parts.trials < 2:
            yield Broken(("budget", "trials"), "must be at least 2 where scheduler.kind is pbt (it is the population), "
                         f"but got {parts.trials}", "Write trials: 8, say.")  # fmt: skip

    kinds = [part.kind for part in (parts.search, scheduler) if part is not None]
    if len(kinds) == 2 and kinds.count("auto") == 1 and len(parts.objectives) == 1:  # of several, auto can have none
        yield Broken(("scheduler" if kinds[0] == "auto" else "search", "kind"), "must be auto where the kind of the "
                     f"{'search' if kinds[0] == 'auto' else 'scheduler'} is, since one model does both, but got "
                     f"{kinds[kinds[0] == 'auto']}", "Leave it out, or choose another kind of both.")  # fmt: skip


def _mutate(parts: Parts, names: Sequence[str]) -> Iterator[Broken]:
    for i, name in enumerate(names):
        if name not in parts.names:
            yield _unnamed(parts, ("scheduler", "mutate", i), name)


def _at_most_epochs(parts: Parts, key: str, value: int) -> Iterator[Broken]:
    if parts.epochs is not None and value > parts.epochs:
        yield Broken(("scheduler", key), f"must be at most budget.epochs ({parts.epochs}), but got {value}",
                     f"Lower {key}, or raise budget.epochs.")  # fmt: skip


def _points(parts: Parts) -> Iterator[Broken]:
    for key, given in (("points", parts.start.points), ("runs", parts.start.runs)):
        if given and parts.search is not None and parts.search.kind in ("grid", "qmc"):
            yield Broken(("start", key), f"must be empty where search.kind is {parts.search.kind}, whose points are "
                         f"fixed, but got {len(given)}", "Remove start, or use search.kind: tpe.")  # fmt: skip
    for i, point in enumerate(parts.start.points):
        for name, value in point.items():
            place = ("start", "points", i, name)
            if name not in parts.names:
                yield _unnamed(parts, place, name)
            elif name in parts.space and not parts.space[name].contains(value):
                yield Broken(place, f"must be a value that space.{name} can have, but got {shown(value)}",
                             can_be(parts.space[name]))  # fmt: skip


def _resources(parts: Parts) -> Iterator[Broken]:
    yield from check_resources(parts.resources)
    listed = not isinstance(parts.resources, Resources)
    for i, entry in enumerate(entries(parts.resources)):
        for name, wanted in entry.when.items():
            place: Place = ("resources", i, "when", name) if listed else ("resources", "when", name)
            if name not in parts.fixed:
                yield from _condition(parts, place, name, wanted)


def _unnamed(parts: Parts, place: Place, name: str) -> Broken:
    return Broken(place, f"must name a parameter of space, but got {name}", did_you_mean(name, parts.names))
