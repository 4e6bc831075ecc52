"""What a trial is given, and which machine has room for it, as far as the driver knows. Free of Ray.

Ray places the trials, and lets wait what does not fit. This model hands out no more than fits, so that no trial is
suggested long before it can run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tuner.core.gpus import MARGIN, Gpus
from tuner.core.packing import MOST
from tuner.core.trial import TrialState
from tuner.engine.machines import Machine, Node, Share, Want, count, spread
from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment, Resources
from tuner.spec.resources import floor_share


class Placement:
    """Which trials have a place."""

    def __init__(self, spec: Experiment, nodes: Sequence[Node], may_come: Sequence[Node] = ()) -> None:
        """Raise ClusterError where a trial fits on none of the machines that there are, or that `may_come`."""
        self.spec = spec
        self._machines: list[Machine] = []
        self._cards: list[int] = []
        """Memory of the GPUs that there are, bytes, the smallest first."""
        self._on_gpus = any(node.gpus for node in may_come)
        """There are GPUs, or were, or will be: a trial that has a share of one waits for it."""
        self._grows, self._largest = bool(may_come), 0
        self._wanted: tuple[Gpus, tuple[object, ...], Want] | None = None
        self._taken: dict[str, tuple[Machine, Share, list[int]]] = {}
        self.slots = 0
        """How many trials run at once, at most."""
        self.most = spec.trials
        """For so many there is work at once."""
        self._together = MOST
        """No more trials need share a GPU."""
        self._least = 0.0
        self.refit(nodes)
        for entry in spec.resource_entries:
            if not count(self._smallest(entry), [*nodes, *may_come]):
                raise ClusterError(_too_much(entry, nodes))

    def refit(self, nodes: Sequence[Node], most: int | None = None) -> None:
        """Take in which machines there are now; what trials have of those that stay is kept.

        `most` is for how many there is work at once, where that is another number from here on.
        """
        self.most = self.most if most is None else most
        known = {machine.node.name: machine for machine in self._machines if machine.node.name}
        self._machines = [known.get(node.name) or Machine(node) for node in nodes]
        for machine, node in zip(self._machines, nodes, strict=True):
            machine.node = node
        self._cards = sorted({node.card for node in nodes if node.gpus})
        self._on_gpus |= bool(self._cards)
        self._largest = max([self._largest, *self._cards])
        entries, usable = self.spec.resource_entries, [node for node in nodes if not node.leaving]
        most = max(count(self._smallest(entry), usable) for entry in entries)
        self.slots = min(most, self.spec.max_trials or most, self.most)
        last, gpus = entries[-1], max(1, sum(node.gpus for node in usable))
        self._together = MOST if last.placement == "pack" else max(1, math.ceil(self.slots / gpus))
        self._least = 0.0
        if len(entries) == 1 and last.placement == "spread" and last.gpus != "auto" and self.slots:
            self._least = spread(self._smallest(last), usable, self.slots)

    @property
    def largest_card(self) -> int:
        """Memory of the largest GPU, bytes; 0 where nobody asked.

        Where machines may come, of the largest that there was: it may come back, and trials wait for it.
        """
        return self._largest if self._grows else max(self._cards, default=0)

    @property
    def enlarged(self) -> str:
        """Say that trials get more of a GPU than was asked for; nothing where they do not."""
        if not self._least:
            return ""
        asked = self._smallest(self.spec.resource_entries[-1]).gpus
        return (
            f"each trial gets {self._least:.4g} of a GPU in place of {asked:.4g}, so that they lie on all GPUs; "
            "resources.placement: pack leaves the rest to other runs"
        )

    @property
    def nodes(self) -> list[Node]:
        """List the machines."""
        return [machine.node for machine in self._machines]

    def want(self, trial: TrialState, known: Gpus) -> Want:
        """Tell what a trial is to be given, by its params and by what is known of such trials."""
        entry = self.spec.resources_of(trial.params)
        if entry.gpus == "auto" and self._on_gpus:
            # The trial whose turn it is is looked at some ten times a second until there is room.
            at = (trial.id, trial.generation, trial.parts, trial.probed)
            facts = (*at, known.sizes.version, known.packing.level, self._together, *self._cards)
            if self._wanted is None or self._wanted[0] is not known or self._wanted[1] != facts:
                self._wanted = known, facts, self._measured(entry, trial, known)
            return self._wanted[2]
        gpus = max(entry.share, self._least, trial.least_gpus) if self._on_gpus and entry.share else 0.0
        return Want(entry.all_cpus, gpus, ranks=entry.world_size)

    def take(self, trial: str, want: Want) -> Share | None:
        """Take a place for a trial; None where there is none at the moment."""
        if want.by_card and all(want.on(card) is None for card in self._cards):
            # None is large enough, as far as is known: let it try on the largest.
            want = replace(want, memory=0, more_than=self.largest_card - 1)
        unknown = want.by_card and not want.memory  # then too the largest is the best to try
        usable = [machine for machine in self._machines if not machine.node.leaving]
        for machine in sorted(usable, key=lambda one: -one.node.card if unknown else 0):
            if (share := want.on_node(machine.node)) is not None and (gpus := machine.find(share)) is not None:
                machine.take(share, gpus)
                self._taken[trial] = machine, share, gpus
                return self._as_told(want, share)
        return self.take(trial, want.otherwise) if want.otherwise is not None else None

    def _as_told(self, want: Want, share: Share) -> Share:
        """Name the machine only where it matters, and the memory only where it is known."""
        if len(self._cards) < 2:
            return replace(share, node="")
        return share if want.by_card else replace(share, node="", memory=0)

    def runs_on(self, trial: str, name: str) -> None:
        """Take in on which machine a trial runs: Ray chooses among all that have room, where none was named."""
        if trial not in self._taken:
            return
        machine, share, gpus = self._taken[trial]
        where = next((one for one in self._machines if one.node.name == name and one is not machine), None)
        if where is not None:
            machine.take(share, gpus, -1)
            found = where.find(share)
            gpus = where.freest(share) if found is None else found
            where.take(share, gpus)
            self._taken[trial] = where, share, gpus

    def leaves_soon(self, trial: str) -> bool:
        """Tell whether the machine of a trial is about to be taken away."""
        return trial in self._taken and self._taken[trial][0].node.leaving

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

        While no two trials share a GPU anyway, the trial itself is what is measured. And no trial waits for a whole GPU
        where there is a good guess.
        """
        least, most = known.sizes.bounds(trial.params, trial.parts)
        probed = trial.probed == trial.parts
        if most is None and probed:
            most = 2 * least  # it was measured, and then took more: measured again it would be the same
        alone = Want(entry.cpus, 1.0, more_than=least if most is None else most, by_card=True)
        together = min(known.packing.level, self._together)
        if together == 1:
            return alone
        low, high = (self._sized(entry, known, need, together) for need in (least, most or 0))
        far_apart = any(_far_apart(low.on(card), high.on(card)) for card in self._cards)
        if most is None or (far_apart and not probed):
            guess = known.sizes.expected(trial.params, trial.parts)
            rough = self._sized(entry, known, max(least, int(guess)), together) if guess is not None else None
            return replace(alone, probe=True, otherwise=rough)
        if self._judges_packing(high, trial, known):
            return replace(alone, probe=True, otherwise=high)
        return high

    def _judges_packing(self, want: Want, trial: TrialState, known: Gpus) -> bool:
        """Tell whether a trial would show how trials do side by side, if it was known how it does alone."""
        if known.packing.settled or trial.probed == trial.parts or known.sizes.cell(trial.params, trial.parts).step:
            return False
        return any(want.on(card) == floor_share(want.together) for card in self._cards)

    def _sized(self, entry: Resources, known: Gpus, need: int, together: int) -> Want:
        """Ask for a share that holds so many bytes of tensors, whatever GPU it is of."""
        memory = int(MARGIN * need) + known.context
        return Want(entry.cpus, 0.0, memory, more_than=need, together=together, by_card=True)

    def _smallest(self, entry: Resources) -> Share:
        """Find the least that an entry may come to."""
        if entry.gpus != "auto":
            return Share(entry.all_cpus, entry.share)
        return Share(entry.cpus, floor_share(MOST) if self._on_gpus else 0)


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
