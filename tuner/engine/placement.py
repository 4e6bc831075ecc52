"""What a trial is given, and which machine has room for it, as far as the driver knows. Free of Ray.

Ray places the trials, and lets wait what does not fit. This model hands out no more than fits, so that no trial is
suggested long before it can run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment, Resources
from tuner.spec.resources import floor_share

Node = Mapping[str, float]
"""Resources of one machine, such as {"CPU": 8, "GPU": 2}."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a trial is given, all its ranks together: they have a place all at once, on one machine, or none has."""

    cpus: int
    gpus: float
    ranks: int = 1


class Machine:
    """What is free on one machine."""

    def __init__(self, node: Node) -> None:
        self.cpus = node.get("CPU", 0.0)
        self.gpus = [1.0] * int(node.get("GPU", 0))
        """The free part of each GPU."""

    def find(self, share: Share) -> list[int] | None:
        """Find GPUs for a share, the fullest that has room first as Ray does; None where there is no room."""
        if share.cpus > self.cpus:
            return None
        least, count = (share.gpus, 1) if 0 < share.gpus < 1 else (1.0, int(share.gpus))
        fitting = sorted((free, i) for i, free in enumerate(self.gpus) if free >= least - 1e-6)
        return [i for _, i in fitting[:count]] if len(fitting) >= count else None

    def take(self, share: Share, gpus: Sequence[int], sign: int = 1) -> None:
        """Take a share away from what is free; with `sign` -1 give it back."""
        self.cpus -= sign * share.cpus
        for i in gpus:
            self.gpus[i] -= sign * min(share.gpus, 1.0)


class Placement:
    """Which trials have a place."""

    def __init__(self, spec: Experiment, nodes: Sequence[Node]) -> None:
        self.spec = spec
        self._machines = [Machine(node) for node in nodes]
        self._taken: dict[str, tuple[Machine, Share, list[int]]] = {}
        counts = [_count(_share(entry), nodes) for entry in spec.resource_entries]
        for entry, count in zip(spec.resource_entries, counts, strict=True):
            if count == 0:
                raise ClusterError(_too_much(entry, nodes))
        most = max(counts)
        self.slots = min(most, spec.max_trials or most, spec.trials)
        """How many trials run at once, at most."""
        self._least = _spread(spec, nodes, self.slots)

    def share(self, params: Mapping[str, Any], least: float = 0.0) -> Share:
        """Tell what a trial with these params is given; where it has a GPU, no less than so much of it."""
        share = _share(self.spec.resources_of(params))
        return replace(share, gpus=max(share.gpus, self._least, least)) if share.gpus else share

    def take(self, trial: str, share: Share) -> bool:
        """Take a place for a trial; False where there is none at the moment."""
        for machine in self._machines:
            if (gpus := machine.find(share)) is not None:
                machine.take(share, gpus)
                self._taken[trial] = machine, share, gpus
                return True
        return False

    def give_back(self, trial: str) -> None:
        """Give back a trial's place, if it has one."""
        if trial in self._taken:
            machine, share, gpus = self._taken.pop(trial)
            machine.take(share, gpus, -1)


def _share(entry: Resources) -> Share:
    return Share(entry.all_cpus, entry.share, entry.world_size)


def _spread(spec: Experiment, nodes: Sequence[Node], slots: int) -> float:
    """Find the larger share by which as many trials lie on all GPUs: Ray itself fills one GPU after the other.

    0 where they are to be packed, where trials differ in what they get, or where all GPUs are full anyway.
    """
    last, differ = spec.resource_entries[-1], len(spec.resource_entries) > 1
    if differ or last.placement == "pack" or not 0 < last.gpus < 1:
        return 0.0
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    for parts in range(max(1, math.ceil(slots / gpus)), round(1 / last.share)):
        if _count(Share(last.all_cpus, floor_share(parts)), nodes) >= slots:
            return floor_share(parts)
    return 0.0


def _count(share: Share, nodes: Sequence[Node]) -> int:
    """Count the trials with such a share that run at once."""
    machines, count = [Machine(node) for node in nodes], 0
    for machine in machines:
        while (gpus := machine.find(share)) is not None:
            machine.take(share, gpus)
            count += 1
    return count


def _too_much(entry: Resources, nodes: Sequence[Node]) -> str:
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
    whose = f" with {entry.when}" if entry.when else ""
    return (
        f"resources: a trial{whose} must fit on one machine, but it asks for {entry.all_cpus} CPUs and {entry.gpus:g} "
        f"GPUs, and the largest has {most['CPU']:g} CPUs and {most['GPU']:g} GPUs. Ask for less, or add a machine."
    )
