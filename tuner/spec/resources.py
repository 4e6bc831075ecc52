"""What a trial gets: CPUs, and no GPU, a share of one, one, or several; in a list, by the trial's params."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tuner.spec.model import Broken, Finite, Model, SpecProblems
from tuner.spec.space import matches
from tuner.spec.words import brief

NEAR = 0.012
"""By so large a part of it may a share be off 1/n: 0.33 means a third."""


def _gpus_form(value: Any) -> str:
    return "auto" if isinstance(value, str) and value.isalpha() else "number"


AnyGpus = Annotated[
    Annotated[Annotated[Finite, Field(ge=0)], Tag("number")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(_gpus_form),
]


class Resources(Model):
    """What one trial gets."""

    when: dict[str, Any] = Field(default_factory=dict)
    """In a list: parameters and the value, or list of values, they must have for this entry to count."""
    cpus: int = Field(default=1, ge=1)
    """CPU cores of each process of a trial (rank), the workers of its loaders among them."""
    gpus: AnyGpus = 0.0
    """GPUs of a trial: none, a share 1/n of one, one, several (as many for each rank), or `auto`: what it needs."""
    ranks: int | None = Field(default=None, ge=1)
    """Processes that train one trial together, on one machine; one for each GPU by default."""
    placement: Literal["spread", "pack"] = "spread"
    """Shares of a GPU: over all GPUs that there are, or on as few as possible."""
    max_trials: int | None = Field(default=None, ge=1)
    """Trials at once; as many as fit by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gpus == "auto":
            if self.world_size > 1:
                what = f"must be 1 where gpus is auto, but got {self.ranks}"
                raise SpecProblems([Broken(("ranks",), what, f"Write gpus: {self.ranks}, or ranks: 1.")])
        elif problem := _share_problem(self.gpus) or _ranks_problem(self.gpus, self.ranks or 1):
            raise SpecProblems([problem])
        return self

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return self.ranks or (1 if self.gpus == "auto" else max(1, int(self.gpus)))

    @property
    def all_cpus(self) -> int:
        """CPU cores of all ranks together."""
        return self.cpus * self.world_size

    @property
    def share(self) -> float:
        """GPUs, as they are asked for: a share a little below 1/n, so that n fit on one; for `auto` the most."""
        if self.gpus == "auto":
            return 1
        return floor_share(round(1 / self.gpus)) if 0 < self.gpus < 1 else self.gpus


def floor_share(parts: int) -> float:
    """Divide a GPU into so many equal parts; Ray counts in ten-thousandths."""
    return math.floor(10_000 / parts) / 10_000


def _share_problem(gpus: float) -> Broken | None:
    if 0 < gpus < 0.01:
        what = f"must be 0, or a hundredth of a GPU at least, but got {brief(gpus)}"
        return Broken(("gpus",), what, "Write 0.01, or more.")
    if gpus.is_integer() if isinstance(gpus, float) else True:
        return None
    if gpus > 1:
        what = f"must be 0, a share such as 0.5, or a whole number, but got {brief(gpus)}"
        return Broken(("gpus",), what, f"Write {math.floor(gpus)} or {math.ceil(gpus)}.")
    if any(abs(gpus - 1 / parts) < NEAR / parts for parts in (math.floor(1 / gpus), math.ceil(1 / gpus))):
        return None
    below, above = 1 / math.ceil(1 / gpus), 1 / math.floor(1 / gpus)
    what = f"must be a share 1/n of a GPU, but got {brief(gpus)}"
    return Broken(("gpus",), what, f"Write {brief(round(below, 4))} or {brief(round(above, 4))}.")


def _ranks_problem(gpus: float, ranks: int) -> Broken | None:
    """Tell where two ranks would have to share a GPU, which NCCL refuses, or one would get more than another."""
    if ranks == 1 or gpus % ranks == 0:
        return None
    if gpus < 1:
        what = f"must be 1 where gpus is a share, since no two ranks can be on one GPU, but got {ranks}"
        return Broken(("ranks",), what, f"Write gpus: {ranks}, or ranks: 1.")
    dividing = [str(count) for count in range(1, int(gpus) + 1) if gpus % count == 0]
    what = f"must divide gpus ({brief(gpus)}), since each rank needs GPUs of its own, but got {ranks}"
    return Broken(("ranks",), what, f"Write ranks: {' or '.join(dividing)}, or gpus: {ranks}.")


def refuse_ranks(resources: Resources | Sequence[Resources], since: str) -> Iterator[Broken]:
    """Yield every entry that asks for several ranks, where the function cannot have them."""
    listed = not isinstance(resources, Resources)
    for i, entry in enumerate(entries(resources)):
        if entry.world_size > 1:
            place = ("resources", i, "ranks") if listed else ("resources", "ranks")
            got = entry.ranks or f"nothing, which means one for each of {entry.gpus:g} GPUs"
            fix = "Write ranks: 1, or a function that takes trial."
            yield Broken(place, f"must be 1, since {since}, but got {got}", fix)


def _form(value: Any) -> str:
    return "list" if isinstance(value, list) else "one"


AnyResources = Annotated[
    Annotated[Resources, Tag("one")] | Annotated[list[Resources], Tag("list")], Discriminator(_form)
]


def entries(resources: Resources | Sequence[Resources]) -> list[Resources]:
    """List the entries, the one that counts by default last."""
    return [resources] if isinstance(resources, Resources) else list(resources)


def choose(resources: Resources | Sequence[Resources], params: Mapping[str, Any]) -> Resources:
    """Find the first entry whose `when` holds."""
    return next(entry for entry in entries(resources) if matches(entry.when, params))


def check(resources: Resources | Sequence[Resources]) -> Iterator[Broken]:
    """Yield what is wrong between the entries."""
    listed = not isinstance(resources, Resources)
    given = entries(resources)
    if not given:
        yield Broken(("resources",), "must hold at least one entry, but got an empty list", "Write {cpus: 1, gpus: 0}.")
    for i, entry in enumerate(given):
        place = ("resources", i) if listed else ("resources",)
        last = i == len(given) - 1
        if last and entry.when:
            what = "must be left out in the last entry, which counts where no other does, but got one"
            yield Broken((*place, "when"), what, "Add an entry without `when` at the end: {cpus: 1, gpus: 0}.")
        if not last and not entry.when:
            what = "must be given in every entry but the last, but got nothing"
            yield Broken((*place, "when"), what, "Add when: {width: 32}, say, or move the entry to the end.")
        if not last and (entry.max_trials is not None or entry.placement != "spread"):
            name = "max_trials" if entry.max_trials is not None else "placement"
            yield Broken((*place, name), "must stand in the last entry: it counts for all, but got it here", "Move it.")
