"""A thread that looks at the machines of somebody else's cluster: they join, leave and die while the run goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tuner.engine import cluster as clusters
from tuner.engine.growth import Wishes, may_come
from tuner.engine.machines import Node, Share
from tuner.engine.placement import Placement
from tuner.engine.survey import survey
from tuner.errors import ClusterError
from tuner.spec.experiment import Experiment

LOOK_SECONDS = 2.0
LEAVE_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""After so long a machine that was not admitted is asked again: it may have been slow, or have been mended."""

Admit = Callable[[Sequence[Node]], dict[str, Node | str]]
"""Tells of each machine, by its name, what it has, or why it is not used."""

log = logging.getLogger(__name__)


class Watch:
    """Called by the driver, it gives the machines that it saw last: Ray itself may take its time to answer."""

    def __init__(self, nodes: Sequence[Node], admit: Admit, say: Callable[[str], None], wishes: Wishes) -> None:
        """A machine that joins has to be admitted, or it is said, once, why it is not used."""
        self._known = {node.name: node for node in nodes}
        self._refused: dict[str, tuple[float, str]] = {}
        """Machines that were not admitted: when they are asked again, and why."""
        self._admit, self._say, self._wishes = admit, say, wishes
        self._asker = ThreadPoolExecutor(1, "admit")
        self._asked: Future[dict[str, Node | str]] | None = None
        """Machines that have joined are asked meanwhile: one may take long, and others leave."""
        self._needs: tuple[int, Share | None] = 0, None
        self._seen: list[Node] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._asker.shutdown(wait=False, cancel_futures=True)
        self._thread.join(LEAVE_SECONDS)

    def __call__(self, more: int, first: Share | None) -> list[Node] | None:
        """Give the machines that were seen last, and take in for how many more trials there could be room.

        `first` is what the trial asks for that waits.
        """
        self._needs = more, first
        return self._seen

    @property
    def refusal(self) -> str:
        """Say why machines that are there are not used; nothing where all are."""
        return "\n".join(why for _, why in list(self._refused.values()))  # the thread adds some meanwhile

    def _run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            try:
                self._seen = self._look()
                # Room on a machine that is not used would be granted, and keep it from leaving.
                self._wishes.renew(*((0, None) if self._refused else self._needs))
            except Exception:
                # A head that does not answer is the way out's business; the next look is due in a moment.
                log.exception("the machines could not be looked at")

    def _look(self) -> list[Node]:
        living = {node.name: node for node in clusters.machines()}
        self._refused = {name: why for name, why in self._refused.items() if name in living}
        self._hear()
        due = [name for name, (again, _) in self._refused.items() if time.monotonic() > again]
        new = [node for name, node in living.items() if name not in self._known and name not in self._refused]
        new += [living[name] for name in due]
        if new and self._asked is None:
            self._asked = self._asker.submit(self._admit, new)
        known = [(self._known[name], node) for name, node in living.items() if name in self._known]
        return [replace(ours, leaving=node.leaving) for ours, node in known]

    def _hear(self) -> None:
        """Take in what machines that have joined say, if they have."""
        if self._asked is None or not self._asked.done():
            return
        asked, self._asked = self._asked, None  # whatever comes of it: else no machine would be asked any more
        for name, answer in asked.result().items():
            if isinstance(answer, Node):
                self._known[name] = answer
                self._refused.pop(name, None)
            else:
                if name not in self._refused:
                    self._say(f"a machine that has joined is not used: {answer}")
                self._refused[name] = time.monotonic() + AGAIN_SECONDS, answer


def places(
    spec: Experiment, cluster: clusters.Cluster, storage: Path | str, say: Callable[[str], None]
) -> tuple[Placement, Watch | None]:
    """Find what the machines have; what watches them on a cluster, where each must reach the run's storage."""
    sized = any(entry.gpus == "auto" for entry in spec.resource_entries)

    def admit(nodes: Sequence[Node]) -> dict[str, Node | str]:
        others = [node for node in nodes if node.name != cluster.here]
        heard = survey(others, storage) if others else {}
        wrong = {name: "; ".join(found) for name, found in heard.items() if found}
        gone = {node.name for node in others} - heard.keys()
        good = [node for node in nodes if node.name not in wrong.keys() | gone]
        try:
            return {**wrong, **{node.name: node for node in (clusters.with_cards(good) if sized else good)}}
        except ClusterError as error:
            return {**wrong, **{node.name: str(error) for node in good}}

    answers = admit(cluster.nodes)
    if wrong := [answer for answer in answers.values() if isinstance(answer, str)]:
        raise ClusterError("\n".join(wrong))
    nodes = [answer for answer in answers.values() if isinstance(answer, Node)]
    if cluster.local:
        return Placement(spec, nodes), None
    kinds = may_come()
    if kinds and len(nodes) == 1 and isinstance(storage, Path):
        say(f"machines that join must see {storage} too; a URL as storage (s3://bucket/runs) needs no shared folder")
    placement = Placement(spec, nodes, kinds)
    if placement.enlarged:
        say(placement.enlarged)
    return placement, Watch(nodes, admit, say, Wishes(spec, kinds))
