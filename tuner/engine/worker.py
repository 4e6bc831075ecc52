"""The Ray actor: it holds a slot, and passes on what the slot says."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from tuner.engine.doing import Doing
from tuner.engine.numbers import SLOT
from tuner.slot.code import Code
from tuner.slot.imports import uncollected
from tuner.slot.slot import Slot
from tuner.trial import Assignment

with uncollected():
    import ray
    from ray import tune

    from tuner.engine.gauges import SlotGauges

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
        run = Path(assignment.run).name
        self.place = f"{run} slot {config[SLOT]}"
        self.gauges = SlotGauges(run, config[SLOT])
        self.doing: Doing | None = None
        self.searched = config["searched"]

    def step(self) -> dict[str, Any]:
        """Let the trial go on until it waits for a decision; a beat at most."""
        if self.first is not None:
            self._begin(self.first)
        assert self.doing is not None
        # The dashboard shows it for this worker; Ray takes it back when this call returns.
        ray._raylet.setproctitle(self.doing.title(self.place))
        events = self.slot.stretch()
        self.doing.hear(events)
        self.gauges.show(self.doing)
        return {HEARD: (events, self.node, self.worker, self.machine)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take on the next assignment; the last one has been ended."""
        self._begin(new_config["assignment"])
        return True

    def mark(self) -> None:
        """Have the trial save its next report, whatever `checkpoint.every` says."""
        self.slot.mark()

    def end(self) -> None:
        """End the trial: it has been decided, and perhaps no other comes."""
        self.slot.end()
        self._say_end()

    def cleanup(self) -> None:
        """Leave no process behind."""
        self.slot.close()
        self._say_end()

    def _begin(self, assignment: Assignment) -> None:
        self._say_end()
        self.slot.begin(assignment)
        self.first, self.doing = None, Doing(assignment, self.searched)
        logs = Path(ray._private.worker._global_node.get_logs_dir_path())
        self.doing.link_logs(logs, self.slot.folder)
        print(self.doing.begins(), flush=True)

    def _say_end(self) -> None:
        if self.doing is not None:
            print(self.doing.ends(), flush=True)
            self.doing = None

    def __repr__(self) -> str:
        return f"{self.place} on {socket.gethostname()}"
