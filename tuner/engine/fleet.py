"""The machines of a live run: they join, are about to leave, and die, and its trials with them. Free of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Set
from typing import Protocol

from tuner.core.confirm import most_in_phase, repeats_left
from tuner.core.records import Machines, Record
from tuner.core.run import Core
from tuner.engine.machines import Node, Share, Want
from tuner.engine.placement import Placement
from tuner.engine.stops import Stops
from tuner.errors import ClusterError

DEAD_SECONDS = 60.0
"""So long a machine that did not answer is not used, though the cluster names it: it takes a while to miss it."""


class Look(Protocol):
    """Tells which machines there are now, and is told what there could be more."""

    @property
    def refusal(self) -> str:
        """Why some of them are not used; nothing where all are."""
        ...

    def __call__(self, more: int, first: Share | None) -> Sequence[Node] | None:
        """Take in for how many more trials there could be room, and what the one asks for that waits."""
        ...


class Still:
    """The machines stay what they are."""

    refusal = ""

    def __call__(self, more: int, first: Share | None) -> None:
        """Nothing new."""


class Fleet:
    """Fits the placement to the machines that there are, and has trials leave those that are taken away."""

    def __init__(
        self, core: Core, placement: Placement, stops: Stops, look: Look, write: Callable[[Record], object]
    ) -> None:
        self.core, self.placement, self.stops, self.look, self._write = core, placement, stops, look, write
        self._waits: tuple[str, Share] | None = None
        """The trial that has no room, though others would have, and what it asks for."""
        self._warned: set[str] = set()
        """Trials that are to leave their machine."""
        self._dead: dict[str, float] = {}
        """Machines found dead before the cluster says so, and until when that is believed."""
        self._followed = -1
        """How many records there were when the placement was last fitted to them."""
        placement.refit(placement.nodes, most_in_phase(core.run))

    def at_once(self, slots: float = math.inf) -> int:
        """Count the trials that will run at once: as many as have room, or would have in so many slots.

        Paused ones count where they go on by themselves. Repeats count before the search is over, too.
        """
        return self._bounded(slots, self._left() + repeats_left(self.core.run))

    def _wished(self) -> int:
        """Count the trials for which there should be room: repeats when they begin, not before."""
        run = self.core.run
        return self._bounded(math.inf, self._left() + (0 if run.is_searching else repeats_left(run)))

    def _left(self) -> int:
        spec, run = self.core.spec, self.core.run
        coming = spec.trials - len(run.trials) if run.wants_trials else 0
        paused = sum(1 for _ in run.having("paused")) if spec.scheduler.kind in ("pbt", "auto") else 0
        if run.is_spent_by(0):
            paused = min(paused, 1)  # the best one alone goes on
        return sum(1 for _ in run.having("running")) + coming + paused

    def _bounded(self, slots: float, left: int) -> int:
        return int(min(slots, self.core.spec.max_trials or math.inf, left))

    def take(self, trial: str, want: Want) -> Share | None:
        """Take a place for a trial; None where there is none at the moment."""
        share = self.placement.take(trial, want)
        self._waits = (trial, Share(want.cpus, want.gpus or float(want.by_card))) if share is None else None
        return share

    def _asked_for(self) -> Share | None:
        """Tell what the trial asks for that waits; one that was stopped meanwhile waits no more."""
        name, share = self._waits or ("", None)
        return share if self.core.run.knows(name) and self.core.run.find(name).status == "running" else None

    def give_back(self, trial: str) -> None:
        """Give back a trial's place, if it has one."""
        self._warned.discard(trial)
        self.placement.give_back(trial)

    def runs_on(self, trial: str, machine: str) -> None:
        """Take in on which machine a trial runs; it may be about to be taken away."""
        self.placement.runs_on(trial, machine)
        self._warn(trial)

    def looks(self, working: Set[str], over: bool) -> ClusterError | None:
        """Take in which machines there are now; returns why the run cannot go on, where they are of no use."""
        more, first = (0, None) if over else (self._wished() - self.placement.slots, self._asked_for())
        if (nodes := self.look(more, first)) is not None:
            self._refit([node for node in nodes if time.monotonic() > self._dead.get(node.name, 0.0)], working)
        if self.look.refusal and not working and not self.placement.slots and not over:
            return ClusterError(self.look.refusal)
        return None

    def died(self, machine: str, working: Set[str]) -> None:
        """Take in that a machine is dead, before the cluster says so."""
        self._dead[machine] = time.monotonic() + DEAD_SECONDS
        self._refit([node for node in self.placement.nodes if node.name != machine], working)

    def follow(self, working: Set[str]) -> None:
        """Fit the placement to what there is work for: when the search is over, repeats."""
        if self._followed == self.core.run.records:
            return  # nothing is new since, and to find those that are repeated means to sort all trials
        self._followed = self.core.run.records
        if (most := most_in_phase(self.core.run)) != self.placement.most:
            self.placement.refit(self.placement.nodes, most)
            self._has_fitted(working)

    def _refit(self, nodes: Sequence[Node], working: Set[str]) -> None:
        if list(nodes) != self.placement.nodes:
            self.placement.refit(nodes)
            self._has_fitted(working)

    def _has_fitted(self, working: Set[str]) -> None:
        run, slots, card = self.core.run, self.placement.slots, self.placement.largest_card
        if (slots, card) != (run.slots, run.gpus.card):
            self._write(Machines(machines=len(self.placement.nodes), slots=slots, card=card))
        for trial in working:
            self._warn(trial)

    def _warn(self, trial: str) -> None:
        """Have a trial save its next report, if its machine is about to be taken away."""
        if self.placement.leaves_soon(trial) and trial not in self._warned:
            self._warned.add(trial)
            self.stops.save(trial)
