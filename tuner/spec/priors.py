"""The rules about what is believed of a parameter: its `prior` and `confidence`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tuner.spec.kinds import SomeSearch
from tuner.spec.model import Broken
from tuner.spec.space import SomeDimension, can_be
from tuner.spec.words import shown


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
        elif search is not None and search.kind in ("grid", "qmc"):
            yield Broken(("space", name, "prior"), f"must be left out where search.kind is {search.kind}, whose points "
                         f"are fixed, but got {shown(prior)}", "Remove it, or use search.kind: tpe.")  # fmt: skip
