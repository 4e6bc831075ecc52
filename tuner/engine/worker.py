"""The Ray actor: it holds a slot, and passes on what the slot says."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray import tune

from tuner.slot.code import Code
from tuner.slot.slot import Slot
from tuner.trial import Assignment

HEARD = "heard"
"""Key of the result that holds (what the slot said, the node, the worker, Ray's id of the machine)."""


class Worker(tune.Trainable):  # type: ignore[misc]
    """Runs one stint after another; user code never runs in this process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Start the slot."""
        code: Code = config["code"]
        if config["shipped"]:
            code = code.moved(config["shipped"], os.getcwd())
        assignment: Assignment = config["assignment"]
        self.node = ray.util.get_node_ip_address()
        self.worker = ray.get_runtime_context().get_worker_id()[:8]
        self.machine = ray.get_runtime_context().get_node_id()
        self.slot = Slot(code, assignment.cpus, config["zygote"])
        # Not yet: by the time that this worker has started, Ray may have given its trial to another one.
        self.first: Assignment | None = assignment

    def step(self) -> dict[str, Any]:
        """Let the trial go on until it waits for a decision; a second at most."""
        if self.first is not None:
            self.slot.begin(self.first)
            self.first = None
        return {HEARD: (self.slot.stretch(), self.node, self.worker, self.machine)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on the next assignment; a trial that still runs is killed."""
        self.slot.begin(new_config["assignment"])
        self.first = None
        return True

    def cleanup(self) -> None:
        """Leave no process behind."""
        self.slot.close()

    def __repr__(self) -> str:
        return "tuner slot"
