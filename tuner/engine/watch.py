"""A thread that looks at the machines of somebody else's cluster: they join, leave and die while the run goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.engine import cluster as clusters
from tuner.engine.growth import Wishes, may_come
from tuner.engine.machines import Node
from tuner.engine.placement import Placement
from tuner.engine.survey import refuse, survey
from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment

LOOK_SECONDS = 2.0
LEAVE_SECONDS = 5.0

Admit = Callable[[Sequence[Node]], list[Node]]

log = logging.getLogger(__name__)


class Watch:
    """Called by the driver, it gives the machines that it saw last: Ray itself may take its time to answer."""

    def __init__(self, nodes: Sequence[Node], admit: Admit, say: Callable[[str], None], wishes: Wishes) -> None:
        """A machine that joins has to be admitted, or it is said, once, why it is not used."""
        self._known: dict[str, Node | None] = {node.name: node for node in nodes}
        self._admit, self._say, self._wishes, self._more = admit, say, wishes, 0
        self._seen: list[Node] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join(LEAVE_SECONDS)

    def __call__(self, more: int) -> list[Node] | None:
        """Give the machines that were seen last, and take in for how many more trials there could be room."""
        self._more = more
        return self._seen

    def _run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            try:
                self._seen = self._look()
                self._wishes.renew(self._more)
            except Exception:
                # A head that does not answer is the way out's business; the next look is due in a moment.
                log.exception("the machines could not be looked at")

    def _look(self) -> list[Node]:
        seen = []
        for node in clusters.machines():
            if node.name not in self._known:
                self._known[node.name] = self._new(node)
            if (known := self._known[node.name]) is not None:
                seen.append(replace(known, leaving=node.leaving))
        return seen

    def _new(self, node: Node) -> Node | None:
        try:
            return self._admit([node])[0]
        except ClusterError as error:
            self._say(f"a machine that has joined is not used: {error}")
            return None


def places(
    spec: Experiment, cluster: clusters.Cluster, storage: Path | str, say: Callable[[str], None]
) -> tuple[Placement, Watch | None]:
    """Find what the machines have; what watches them on a cluster, where each must reach the run's storage."""
    sized = any(entry.gpus == "auto" for entry in spec.resource_entries)

    def admit(nodes: Sequence[Node]) -> list[Node]:
        others = [node for node in nodes if node.name != cluster.here]
        refuse(survey(others, storage) if others else {})
        return clusters.with_cards(nodes) if sized else list(nodes)

    nodes = admit(cluster.nodes)
    if cluster.local:
        return Placement(spec, nodes), None
    kinds = may_come()
    return Placement(spec, nodes, kinds), Watch(nodes, admit, say, Wishes(spec, kinds))
