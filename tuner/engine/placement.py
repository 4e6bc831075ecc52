"""What a trial is given, and which machine has room for it, as far as the driver knows. Free of Ray.

Ray places the trials, and lets wait what does not fit. This model hands out no more than fits, so that no trial is
suggested long before it can run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.core.gpus import Gpus
from tuner.core.state import TrialState
from tuner.engine.machines import Machine, Node, Share, Want, count, spread
from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment, Resources
from tuner.spec.resources import floor_share

MARGIN = 1.1
"""So much more than was measured is given: memory comes apart into pieces, and a later batch may be larger."""
MOST_PARTS = 16
"""Into no more parts a GPU is cut by `gpus: auto`."""


class Placement:
    """Which trials have a place."""

    def __init__(self, spec: Experiment, nodes: Sequence[Node]) -> None:
        self.spec = spec
        self._machines = [Machine(node) for node in nodes]
        self._cards = sorted({node.card for node in nodes if node.gpus})
        self.largest_card = max(self._cards, default=0)
        """Memory of the largest GPU, bytes; 0 where nobody asked."""
        self._wanted: tuple[Gpus, tuple[object, ...], Want] | None = None
        self._taken: dict[str, tuple[Machine, Share, list[int]]] = {}
        counts = [count(self._smallest(entry), nodes) for entry in spec.resource_entries]
        for entry, one in zip(spec.resource_entries, counts, strict=True):
            if one == 0:
                raise ClusterError(_too_much(entry, nodes))
        most = max(counts)
        self.slots = min(most, spec.max_trials or most, spec.trials)
        """How many trials run at once, at most."""
        self._least = 0.0
        last = spec.resource_entries[-1]
        if len(counts) == 1 and last.placement == "spread" and last.gpus != "auto":
            self._least = spread(self._smallest(last), nodes, self.slots)

    def want(self, trial: TrialState, known: Gpus) -> Want:
        """Tell what a trial is to be given, by its params and by what is known of such trials."""
        entry = self.spec.resources_of(trial.params)
        if entry.gpus == "auto" and self._cards:
            # The trial whose turn it is is looked at some ten times a second until there is room.
            facts = (trial.id, trial.parts, trial.least_gpus, trial.probed, known.sizes.version, known.packing.level)
            if self._wanted is None or self._wanted[0] is not known or self._wanted[1] != facts:
                self._wanted = known, facts, self._measured(entry, trial, known)
            return self._wanted[2]
        gpus = max(entry.share, self._least, trial.least_gpus) if self._cards and entry.share else 0.0
        return Want(entry.all_cpus, gpus, ranks=entry.world_size)

    def take(self, trial: str, want: Want) -> Share | None:
        """Take a place for a trial; None where there is none at the moment."""
        if want.by_card and all(want.on(card) is None for card in self._cards):
            want = replace(want, memory=0, more_than=0)  # none is large enough, as far as is known: let it try
        unknown = want.by_card and not want.memory  # then the largest is the best to try
        for machine in sorted(self._machines, key=lambda one: -one.node.card if unknown else 0):
            if (share := want.on_node(machine.node)) is not None and (gpus := machine.find(share)) is not None:
                machine.take(share, gpus)
                self._taken[trial] = machine, share, gpus
                return share if len(self._cards) > 1 else replace(share, node="")
        return None

    def together(self, trial: str) -> int:
        """Count the trials on the GPU of a trial that has a share of one, or one; 0 for others."""
        machine, _, gpus = self._taken.get(trial, (None, None, []))
        if len(gpus) != 1:
            return 0
        return sum(1 for other, _, others in self._taken.values() if other is machine and others == gpus)

    def give_back(self, trial: str) -> None:
        """Give back a trial's place, if it has one."""
        if trial in self._taken:
            machine, share, gpus = self._taken.pop(trial)
            machine.take(share, gpus, -1)

    def _measured(self, entry: Resources, trial: TrialState, known: Gpus) -> Want:
        """Give a trial the share that it needs; where that is not known well, a whole GPU for some steps, to measure.

        While no two trials share a GPU anyway, the trial itself is what is measured.
        """
        least, most = known.sizes.bounds(trial.params, trial.parts)
        if most is None and trial.probed == trial.parts:
            most = least  # it was measured, and then it, or one like it, took more: measured again it would be the same
        alone = Want(entry.cpus, 1.0, more_than=least if most is None else most, by_card=True)
        if known.packing.level == 1:
            return alone
        low, high = (_sized(entry, trial, known, need) for need in (least, most or 0))
        vague = most is None or any(_far_apart(low.on(card), high.on(card)) for card in self._cards)
        if vague or self._judges_packing(high, trial, known):
            return replace(alone, probe=True)
        return high

    def _judges_packing(self, want: Want, trial: TrialState, known: Gpus) -> bool:
        """Tell whether a trial would show how trials do side by side, if it was known how it does alone."""
        if known.packing.settled or trial.probed == trial.parts or known.sizes.cell(trial.params, trial.parts).step:
            return False
        return any(want.on(card) == floor_share(known.packing.level) for card in self._cards)

    def _smallest(self, entry: Resources) -> Share:
        """Find the least that an entry may come to."""
        if entry.gpus != "auto":
            return Share(entry.all_cpus, entry.share)
        return Share(entry.cpus, floor_share(MOST_PARTS) if self._cards else 0)


def _sized(entry: Resources, trial: TrialState, known: Gpus, need: int) -> Want:
    """Ask for a share that holds so many bytes of tensors, whatever GPU it is of."""
    memory = int(MARGIN * need) + known.context
    return Want(entry.cpus, trial.least_gpus, memory, more_than=need, together=known.packing.level, by_card=True)


def _far_apart(least: float | None, most: float | None) -> bool:
    """Tell whether two shares of a GPU differ by more than a factor of two, or only one of them is possible."""
    return least != most and (least is None or most is None or most > 2.01 * least)


def _too_much(entry: Resources, nodes: Sequence[Node]) -> str:
    # One machine, rather than the most of each: it may be that no machine has both.
    gpus = 0 if entry.gpus == "auto" else entry.gpus
    names = ("gpus", "cpus") if gpus else ("cpus", "gpus")
    largest = max(nodes, key=lambda node: [getattr(node, name) for name in names], default=Node(0))
    whose = f" with {entry.when}" if entry.when else ""
    fix = "Ask for less, or add a machine."
    if gpus and not largest.gpus:
        fix = "There is no GPU here: set gpus to 0, or name a cluster that has some with --address."
    return (
        f"resources: a trial{whose} must fit on one machine, but it asks for {entry.all_cpus} CPUs and {gpus:g} "
        f"GPUs, and the largest has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs. {fix}"
    )
