"""The rules about what is believed of a parameter: its `prior` and `confidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuner.spec.kinds import SomeSearch
from tuner.spec.model import Broken
from tuner.spec.space import SomeDimension, can_be
from tuner.spec.words import shown

DEAF = {
    "grid": "whose points are fixed",
    "qmc": "whose points are fixed",
    "nsga2": "which breeds new params from trials alone",
}
"""The kinds of search that take no priors, and why."""


def check(space: Mapping[str, SomeDimension], search: SomeSearch | None) -> Iterator[Broken]:
    """Yield every rule about priors that is broken."""
    for name, dimension in space.items():
        prior = dimension.prior
        if prior is None:
            if dimension.confidence is not None:
                yield Broken(("space", name, "confidence"),
                             f"must stand beside a prior, but got {shown(dimension.confidence)} without one",
                             "Add prior, or remove confidence.")  # fmt: skip
        elif not dimension.contains(prior):
            yield Broken(("space", name, "prior"), f"must be a value that the parameter can have, but got "
                         f"{shown(prior)}", can_be(dimension))  # fmt: skip
        elif search is not None and search.kind in DEAF:
            what = f"must be left out where search.kind is {search.kind}, {DEAF[search.kind]}, but got {shown(prior)}"
            yield Broken(("space", name, "prior"), what, "Remove it, or use search.kind: tpe.")
