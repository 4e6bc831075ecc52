"""The kinds of search by name: each is an Optuna sampler made anew for each suggestion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.samplers import BaseSampler

from tuner.core.records import Record
from tuner.core.search import cmaes, gp, grid, nsga2, qmc, random, tpe
from tuner.core.search.asker import Asker, AtNeed, OneAhead
from tuner.core.search.study import StudySearcher
from tuner.spec.experiment import Experiment

MakeSampler = Callable[[Experiment, int], BaseSampler]
"""(spec, number of the trial) → a sampler seeded for that trial."""

KINDS: dict[str, tuple[MakeSampler, type[AtNeed] | type[OneAhead]]] = {
    "tpe": (tpe.sampler, OneAhead),
    "gp": (gp.sampler, OneAhead),
    "cmaes": (cmaes.sampler, AtNeed),
    "nsga2": (nsga2.sampler, AtNeed),
    "qmc": (qmc.sampler, AtNeed),
    "random": (random.sampler, AtNeed),
    "grid": (grid.sampler, AtNeed),
}
"""The slow ones are computed one ahead. It is a constant of the kind, since a measured time would decide otherwise."""


def is_at_random(spec: Experiment, records: Sequence[Record]) -> bool:
    """Tell whether a search that learns would still draw at random after these records."""
    if spec.search.kind == "auto" or not hasattr(spec.search, "startup"):
        return False
    searcher = StudySearcher(spec, KINDS[spec.search.kind][0])
    for record in records:
        searcher.observe(record)
    return searcher.is_starting


def make_asker(spec: Experiment) -> Asker:
    """Build what the core asks for params."""
    if spec.search.kind == "auto":
        from tuner.core.search.thaw import FreezeThaw  # scipy takes longer to import than all else here

        return FreezeThaw(spec)
    sampler, asker = KINDS[spec.search.kind]
    return asker(StudySearcher(spec, sampler))
