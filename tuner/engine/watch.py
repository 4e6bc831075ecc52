"""A thread that looks at the machines of somebody else's cluster: they join, leave and die while the run goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from tuner.engine import cluster as clusters
from tuner.engine.growth import Wishes
from tuner.engine.machines import Node
from tuner.errors import ClusterError

LOOK_SECONDS = 2.0
LEAVE_SECONDS = 5.0

log = logging.getLogger(__name__)


class Watch:
    """Called by the driver, it gives the machines that it saw last: Ray itself may take its time to answer."""

    def __init__(self, nodes: Sequence[Node], sized: bool, wishes: Wishes | None = None) -> None:
        """Where a run is `sized`, the memory of each machine's GPUs is asked for before it counts."""
        self._known = {node.name: node for node in nodes}
        self._sized, self._wishes, self._more = sized, wishes, 0
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
                if self._wishes is not None:
                    self._wishes.renew(self._more)
            except Exception:
                # A head that does not answer is the way out's business; the next look is due in a moment.
                log.exception("the machines could not be looked at")

    def _look(self) -> list[Node]:
        seen = []
        for node in clusters.machines():
            if node.name not in self._known and (new := self._asked(node)) is not None:
                self._known[node.name] = new
            if (known := self._known.get(node.name)) is not None:
                seen.append(replace(known, leaving=node.leaving))
        return seen

    def _asked(self, node: Node) -> Node | None:
        """Ask a machine that has joined what its GPUs have; None where it does not say."""
        try:
            return clusters.with_cards([node])[0] if self._sized else node
        except ClusterError as error:
            log.warning("%s", error)
            return None
