"""The machines of a cluster: how large they are, and what is free on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.spec.resources import floor_share


@dataclass(frozen=True, slots=True)
class Node:
    """One machine, as Ray knows it."""

    cpus: float
    gpus: int = 0
    card: int = 0
    """Memory of each GPU, bytes; 0 where nobody asked."""
    name: str = ""
    """Ray's id of it."""
    address: str = ""
    leaving: bool = False
    """It is about to be taken away: no trial begins there."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a trial is given, all its ranks together: they have a place all at once, on one machine, or none has."""

    cpus: int
    gpus: float
    memory: int = 0
    """What that is of the GPU's memory, bytes; 0 where nobody asked."""
    node: str = ""
    """Ray's id of the one machine for whose GPUs it was made; empty for any."""
    probe: bool = False
    """For some steps only, which are measured."""
    ranks: int = 1


@dataclass(frozen=True, slots=True)
class Want:
    """What a trial is to be given; how much of a GPU that is may depend on the GPU."""

    cpus: int
    gpus: float
    """So many, or so much of one, at least."""
    memory: int = 0
    """Bytes of a GPU that its share must have; 0 where a whole GPU is wanted anyway."""
    more_than: int = 0
    """Bytes of a GPU that were not enough."""
    together: int = 1
    """So many trials may share a GPU."""
    probe: bool = False
    by_card: bool = False
    """It matters which GPU it is."""
    otherwise: Want | None = None
    """What will do where there is no place for this."""
    ranks: int = 1

    def on(self, card: int) -> float | None:
        """Find the smallest share of a GPU with so many bytes that holds it; None where it does not fit."""
        if not self.by_card:
            return self.gpus
        if card <= self.more_than:
            return None
        parts = max(1, min(card // max(1, self.memory), self.together)) if self.memory else 1
        return max(floor_share(parts), self.gpus)

    def on_node(self, node: Node) -> Share | None:
        """Find its share of a machine; None where its GPUs are too small."""
        if not self.by_card:
            memory = int(min(self.gpus, 1) * node.card)
            return Share(self.cpus, self.gpus, memory, ranks=self.ranks)
        gpus = self.on(node.card) if node.gpus else None
        return None if gpus is None else Share(self.cpus, gpus, int(gpus * node.card), node.name, self.probe)


class Machine:
    """What is free on one machine."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = node.cpus
        self.gpus = [1.0] * node.gpus
        """The free part of each GPU."""

    def find(self, share: Share) -> list[int] | None:
        """Find GPUs for a share, the fullest that has room first as Ray does; None where there is no room."""
        if share.cpus > self.cpus:
            return None
        least, number = (share.gpus, 1) if 0 < share.gpus < 1 else (1.0, int(share.gpus))
        fitting = sorted((free, i) for i, free in enumerate(self.gpus) if free >= least - 1e-6)
        return [i for _, i in fitting[:number]] if len(fitting) >= number else None

    def take(self, share: Share, gpus: Sequence[int], sign: int = 1) -> None:
        """Take a share away from what is free; with `sign` -1 give it back."""
        self.cpus -= sign * share.cpus
        for i in gpus:
            self.gpus[i] -= sign * min(share.gpus, 1.0)

    def freest(self, share: Share) -> list[int]:
        """Choose GPUs for a share that has no room by what is known, and is there all the same."""
        order = sorted(range(len(self.gpus)), key=lambda i: -self.gpus[i])
        return order[: math.ceil(share.gpus)]


def count(share: Share, nodes: Sequence[Node]) -> int:
    """Count the trials with such a share that run at once."""
    machines, number = [Machine(node) for node in nodes], 0
    for machine in machines:
        while (gpus := machine.find(share)) is not None:
            machine.take(share, gpus)
            number += 1
    return number


def spread(share: Share, nodes: Sequence[Node], slots: int) -> float:
    """Find the larger share by which as many trials lie on all GPUs: Ray itself fills one GPU after the other.

    0 where all GPUs are full anyway.
    """
    if not 0 < share.gpus < 1:
        return 0.0
    gpus = sum(node.gpus for node in nodes)
    for parts in range(max(1, math.ceil(slots / gpus)), round(1 / share.gpus)):
        if count(Share(share.cpus, floor_share(parts)), nodes) >= slots:
            return floor_share(parts)
    return 0.0
