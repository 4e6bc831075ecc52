"""From plain values to the frozen spec, with every problem reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tuner.spec import rules
from tuner.spec.draft import Draft
from tuner.spec.experiment import DEFAULT_KINDS, Experiment
from tuner.spec.kinds import AnyScheduler, AnySearch, SomeScheduler, SomeSearch
from tuner.spec.messages import translate
from tuner.spec.model import Broken
from tuner.spec.rules import Parts
from tuner.spec.space import AnyDimension, SomeDimension

_T = TypeVar("_T")
_DIMENSION: TypeAdapter[SomeDimension] = TypeAdapter(AnyDimension)
_SEARCH: TypeAdapter[SomeSearch] = TypeAdapter(AnySearch)
_SCHEDULER: TypeAdapter[SomeScheduler] = TypeAdapter(AnyScheduler)


def validate(draft: Draft) -> Experiment | None:
    """Build the experiment; None, with all problems reported, where something does not hold."""
    try:
        return Experiment.model_validate(draft.value)
    except ValidationError as error:
        broken = translate(error, draft)
        for problem in [*broken, *_dimension_rules(draft), *rules.check(_valid_parts(draft))]:
            draft.report(problem)
        draft.refused |= {problem.place for problem in broken if problem.place != ("space",)}
        return None


def _valid_parts(draft: Draft) -> Parts:
    """Collect the parts that hold by themselves: pydantic checks no rule between keys while one key is wrong."""
    space = draft.mapping("space")
    dimensions = {name: _valid(_DIMENSION, value) for name, value in space.items()}
    points = draft.mapping("start").get("points")
    return Parts(
        names=list(space),
        space={name: dimension for name, dimension in dimensions.items() if dimension is not None},
        fixed=draft.mapping("fixed"),
        points=[point for point in points if isinstance(point, dict)] if isinstance(points, list) else [],
        search=_valid(_SEARCH, _with_kind(draft, "search")),
        scheduler=_valid(_SCHEDULER, _with_kind(draft, "scheduler")),
        trials=_whole(draft.mapping("budget").get("trials")),
        epochs=_whole(draft.mapping("budget").get("epochs")),
    )


def _dimension_rules(draft: Draft) -> Iterator[Broken]:
    """Check a dimension's bounds also where another of its keys is wrong, as if that one were left out."""
    for name, value in draft.mapping("space").items():
        wrong = {broken.place[2] for broken in _problems(name, value, draft) if len(broken.place) > 2}
        if wrong and isinstance(value, dict):
            rest = {key: part for key, part in value.items() if key not in wrong}
            yield from (broken for broken in _problems(name, rest, draft) if broken.place[-1] in rest)


def _problems(name: str, value: Any, draft: Draft) -> list[Broken]:
    try:
        _DIMENSION.validate_python(value)
    except ValidationError as error:
        return translate(error, draft, ("space", name))
    return []


def _valid(adapter: TypeAdapter[_T], value: Any) -> _T | None:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _with_kind(draft: Draft, section: str) -> Any:
    value = draft.value.get(section, {})
    return {"kind": DEFAULT_KINDS[section], **value} if isinstance(value, dict) else value


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None
