"""Keys that a later version brings: refused with "not yet", and with what is there instead."""

from __future__ import annotations

from tuner.spec.draft import Draft
from tuner.spec.model import Place
from tuner.spec.words import shown

TOP_LEVEL = {
    "constraints": "Report a bad value of the objective where a constraint is broken.",
}


def check_later(draft: Draft) -> None:
    """Refuse what is not there yet, and go on without it."""
    for key, instead in TOP_LEVEL.items():
        _refuse(draft, (key,), instead)
    _check_objective(draft)


def _check_objective(draft: Draft) -> None:
    objectives = draft.value.get("objective")
    if isinstance(objectives, list):
        instead = "Give one mapping: {metric: val_accuracy, mode: max}; the other metrics may be reported too."
        _refuse(draft, ("objective",), instead, "one objective, since several")


def _refuse(draft: Draft, place: Place, instead: str, must: str = "left out, since it") -> None:
    parent = draft.mapping(*place[:-1])
    if place[-1] not in parent:
        return
    verb = "is" if must.endswith(("it", "auto")) else "are"
    draft.refuse(place, f"must be {must} {verb} not yet supported, but got {shown(parent[place[-1]])}", instead)
    del parent[str(place[-1])]
