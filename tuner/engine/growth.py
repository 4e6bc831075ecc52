"""A cluster that grows: which machines may still come, and the wish for them that its autoscaler sees."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tuner.engine.machines import Node, Share, count
from tuner.errors import UserError
from tuner.spec.experiment import Experiment

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

VARIABLE = "TUNER_NODE_TYPES"
"""What one machine of each kind that may come has, as JSON: `[{"CPU": 8, "GPU": 1}]`. For Kubernetes, say."""
BOOTSTRAP = "ray_bootstrap_config.yaml"
"""What `ray up` leaves in the home folder of the head."""
MOST_WISHES = 16
"""More is not asked for at a time: what comes is seen within seconds, and the next ones are asked for."""


def may_come() -> list[Node]:
    """Find what kinds of machines may join the cluster whose head this is; none where nothing is known."""
    if told := os.environ.get(VARIABLE):
        try:
            return [_node(dict(resources)) for resources in json.loads(told)]
        except (ValueError, TypeError):
            raise UserError(
                f'{VARIABLE}: must be a JSON list of resources such as [{{"CPU": 8, "GPU": 1}}], but got {told}.'
            ) from None
    try:
        config = yaml.safe_load((Path.home() / BOOTSTRAP).read_text())
        kinds = [kind for kind in config["available_node_types"].values() if kind.get("max_workers", 1)]
        return [_node(kind["resources"]) for kind in kinds if kind.get("resources")]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return []


def _node(resources: dict[str, Any]) -> Node:
    return Node(float(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


class Wishes:
    """Placement groups that wait for machines which are not there yet; they die with this driver."""

    def __init__(self, spec: Experiment, kinds: Sequence[Node]) -> None:
        last = spec.resource_entries[-1]
        # What a trial takes of a GPU is not known before it was measured: on a whole one.
        gpus = last.share if last.gpus != "auto" else float(any(kind.gpus for kind in kinds))
        self._kinds, self._usual = kinds, Share(last.all_cpus, gpus)
        self._waiting: list[PlacementGroup] = []
        self._shape = self._usual

    def renew(self, more: int, first: Share | None = None) -> None:
        """Wish for room for so many more trials; what has been granted is set free for them.

        `first` is what the trial asks for that waits, where it is not the usual share that it waits for.
        """
        from ray.util import placement_group, remove_placement_group

        shape, number = (first, max(1, more)) if first is not None else (self._usual, more)
        wanted = max(0, min(number, MOST_WISHES)) if count(shape, self._kinds) else 0
        granted = [group for group in self._waiting if group.wait(0)]
        stays = [group for group in self._waiting if group not in granted and shape == self._shape][:wanted]
        # A new wish at once would take again what is being set free, before the trial that waits for it.
        new = 0 if granted else wanted - len(stays)
        for group in self._waiting:
            if group not in stays:
                remove_placement_group(group)
        bundle = {"CPU": shape.cpus, **({"GPU": shape.gpus} if shape.gpus else {})}
        self._shape = shape
        self._waiting = [*stays, *(placement_group([bundle]) for _ in range(new))]
