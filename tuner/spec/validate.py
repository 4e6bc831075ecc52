"""From plain values to the frozen spec, with every problem reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tuner.spec import rules
from tuner.spec.draft import Draft
from tuner.spec.experiment import Experiment, Objective, with_kinds
from tuner.spec.kinds import AnyScheduler, AnySearch, SomeScheduler, SomeSearch
from tuner.spec.messages import translate
from tuner.spec.model import Broken
from tuner.spec.resources import AnyResources, Resources
from tuner.spec.rules import Parts
from tuner.spec.several import BY
from tuner.spec.space import AnyDimension, SomeDimension
from tuner.spec.start import Start

_T = TypeVar("_T")
_DIMENSION: TypeAdapter[SomeDimension] = TypeAdapter(AnyDimension)
_SEARCH: TypeAdapter[SomeSearch] = TypeAdapter(AnySearch)
_RESOURCES: TypeAdapter[Resources | Sequence[Resources]] = TypeAdapter(AnyResources)
_OBJECTIVE: TypeAdapter[Objective] = TypeAdapter(Objective)
_START: TypeAdapter[Start] = TypeAdapter(Start)
_SCHEDULER: TypeAdapter[SomeScheduler] = TypeAdapter(AnyScheduler)


def validate(draft: Draft) -> Experiment | None:
    """Build the experiment; None, with all problems reported, where something does not hold."""
    space = draft.mapping("space")
    try:
        return Experiment.model_validate(draft.value)
    except ValidationError as error:
        broken = translate(error, draft)
        ruled = [*_dimension_rules(draft), *rules.check(_valid_parts(draft))]
        wrong_by = any(problem.place[:2] == BY for problem in broken)  # it is not missing then
        for problem in [*broken, *(one for one in ruled if not (wrong_by and one.place == BY))]:
            draft.report(problem)
        # A circle among conditions is reported at `space` too, and says nothing about single parameters.
        draft.refused |= {problem.place for problem in broken if problem.place != ("space",) or not space}
        return None


def _valid_parts(draft: Draft) -> Parts:
    """Collect the parts that hold by themselves: pydantic checks no rule between keys while one key is wrong."""
    space = draft.mapping("space")
    kinds = {"search": {"kind": "tpe"}, "scheduler": {"kind": "asha"}, **with_kinds(draft.value)}
    dimensions = {name: _valid(_DIMENSION, value) for name, value in space.items()}
    return Parts(
        names=list(space),
        space={name: dimension for name, dimension in dimensions.items() if dimension is not None},
        fixed=draft.mapping("fixed"),
        start=_start(draft.mapping("start")),
        search=_valid(_SEARCH, kinds["search"]),
        scheduler=_valid(_SCHEDULER, kinds["scheduler"]),
        trials=_whole(draft.mapping("budget").get("trials")),
        epochs=_whole(draft.mapping("budget").get("epochs")),
        resources=_valid(_RESOURCES, draft.value.get("resources", {})) or Resources(),
        confirms=draft.value.get("confirm") is not None,
        objectives=_objectives(draft.value.get("objective")),
        has_target=draft.mapping("budget").get("target") is not None,
        has_constraints=bool(draft.mapping("constraints")),
    )


def _start(given: Mapping[str, Any]) -> Start:
    """Keep what holds by itself, of the points each that does."""
    points = given.get("points")
    kept = [point for point in points if isinstance(point, dict)] if isinstance(points, list) else []
    return _valid(_START, {**given, "points": kept}) or Start(points=kept)


def _dimension_rules(draft: Draft) -> Iterator[Broken]:
    """Check a dimension's bounds also where another of its keys is wrong."""
    for name, value in draft.mapping("space").items():
        try:
            _DIMENSION.validate_python(rest := _without_wrong(_DIMENSION, value))
        except ValidationError as error:
            broken = translate(error, draft, ("space", name))
            yield from (problem for problem in broken if rest is not value and problem.place[-1] in rest)


def _without_wrong(adapter: TypeAdapter[_T], value: Any) -> Any:
    """Leave out the keys that are wrong by themselves, so that the others can be checked."""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        wrong = {details["loc"][1] for details in error.errors() if len(details["loc"]) > 1}
        if wrong and isinstance(value, dict):
            return {key: part for key, part in value.items() if key not in wrong}
    return value


def _valid(adapter: TypeAdapter[_T], value: Any) -> _T | None:
    try:
        return adapter.validate_python(_without_wrong(adapter, value))
    except ValidationError:
        return None


def _objectives(value: Any) -> list[Objective]:
    """Read those that hold; none where one of several does not, since then nothing is known of their number."""
    listed = value if isinstance(value, list) else [value]
    found = [objective for one in listed if (objective := _valid(_OBJECTIVE, one)) is not None]
    return found if len(found) == len(listed) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None
