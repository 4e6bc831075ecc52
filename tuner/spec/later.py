"""Keys that a later version brings: refused with "not yet", and with what is there instead."""

from __future__ import annotations

from tuner.spec.draft import Draft
from tuner.spec.model import Place
from tuner.spec.words import shown


def check_later(draft: Draft) -> None:
    """Refuse what is not there yet, and go on without it."""
    _refuse(draft, ("start", "runs"), "Give their best params as start.points.")
    for name in draft.mapping("space"):
        for key in ("prior", "confidence"):
            _refuse(draft, ("space", name, key), "Narrow low and high, or give good values as start.points.")
    if draft.mapping("search").get("kind") == "auto":
        _refuse(draft, ("search", "kind"), "Write kind: tpe.", "a kind that is there, since auto")


def _refuse(draft: Draft, place: Place, instead: str, must: str = "left out, since it") -> None:
    parent = draft.mapping(*place[:-1])
    if place[-1] not in parent:
        return
    verb = "is" if must.endswith(("it", "auto")) else "are"
    draft.refuse(place, f"must be {must} {verb} not yet supported, but got {shown(parent[place[-1]])}", instead)
    del parent[str(place[-1])]
