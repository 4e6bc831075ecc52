"""The adapter through which Ray Tune asks for work."""

from __future__ import annotations

from typing import Any

from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Experiment, Trial
from ray.tune.search.search_algorithm import SearchAlgorithm

from tuner.engine.live import LiveRun
from tuner.slot.code import Code
from tuner.trial import Assignment

NODE_ID = "ray.io/node-id"
"""The label by which Ray knows each of its machines."""


class Search(SearchAlgorithm):  # type: ignore[misc]
    """Hands out one Ray trial for each stint of one of ours: what pauses and goes on later is a new Ray trial."""

    def __init__(self, live: LiveRun, code: Code, zygote: str | None, shipped: str) -> None:
        self.live = live
        self.config = {"code": code, "zygote": zygote, "shipped": shipped, "searched": tuple(live.core.spec.space)}
        self.stints: dict[str, tuple[str, int]] = {}
        """Ray's trial id → (our trial, its generation)."""
        self.latest: dict[str, str] = {}
        """Our trial → Ray's id of its last stint."""
        self.experiment: Experiment
        self._count = 0

    def add_configurations(self, experiments: Any) -> None:
        """Keep what Ray knows of the run."""
        self.experiment = experiments[0]

    def next_trial(self) -> Trial | None:
        """Give Ray the next stint, if there is a free slot and something to do."""
        if (assignment := self.live.hand_out()) is None:
            return None
        self._count += 1
        name = f"{assignment.trial}_{self._count}"
        self.stints[name] = (assignment.trial, assignment.generation)
        self.latest[assignment.trial] = name
        return Trial(
            self.experiment.run_identifier,
            config={**self.config, "assignment": assignment},
            trial_id=name,
            storage=self.experiment.storage,
            placement_group_factory=_place(assignment),
            stopping_criterion={},
        )

    def is_finished(self) -> bool:
        """Tell Ray whether no more work will come."""
        return self.live.over


def _place(assignment: Assignment) -> PlacementGroupFactory:
    """Ask for all that a trial's ranks need as one: half of it would be no use, and others would wait for it.

    On one machine, where it was made for that one's GPUs.
    """
    bundles = [{"CPU": assignment.cpus * assignment.ranks, "GPU": assignment.gpus}]
    if not assignment.node:
        return PlacementGroupFactory(bundles)
    return PlacementGroupFactory(bundles, bundle_label_selector=[{NODE_ID: assignment.node}])
