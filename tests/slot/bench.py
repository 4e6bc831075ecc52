"""Real processes: a slot on a user's folder, and what it says."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.slot.code import Code
from tuner.slot.slot import Event, Slot
from tuner.trial import Assignment

PATIENCE = 60.0
"""Seconds until a test that waits in vain gives up; no test says how fast something is."""


@dataclass
class Bench:
    """A user's folder with a module, a run's folder, and the slots that were made."""

    root: Path
    slots: list[Slot] = field(default_factory=list)

    def code(self, source: str, module: str = "user_module", **more: Any) -> Code:
        """Write the user's module; its function is `train`."""
        folder = self.root / "code"
        folder.mkdir(exist_ok=True)
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        return Code(**{"module": module, "function": "train", "root": str(folder), "cwd": str(self.root), **more})

    def slot(self, source: str | Code, **more: Any) -> Slot:
        """Start a slot on a module; it is closed at the end of the test."""
        slot = Slot(source if isinstance(source, Code) else self.code(source), **more)
        self.slots.append(slot)
        return slot

    def close(self) -> None:
        """End the slots."""
        for slot in self.slots:
            slot.close()

    def assignment(self, trial: str = "t0", **more: Any) -> Assignment:
        """Make an assignment of three epochs."""
        given = {"params": {}, "seed": 1, "metric": "loss", "epochs": 3, **more}
        return Assignment(run=str(self.root / "run"), trial=trial, **given)

    def log(self, trial: str = "t0") -> str:
        """Read what a trial printed."""
        return (self.root / "run" / "trials" / trial / "log.txt").read_text()

    def run(self, slot: Slot, assignment: Assignment | None = None) -> list[Event]:
        """Run an assignment to its end; returns all that was said but heartbeats."""
        slot.begin(assignment or self.assignment())
        return until_end(slot)

    def once(self, body: str, **more: Any) -> list[Event]:
        """Run a function body in a slot of its own."""
        source = "import os, sys, time\ndef train(trial):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        return self.run(self.slot(source, **more))


def hear(slot: Slot) -> Event:
    """Wait for what comes next, heartbeats aside."""
    deadline = time.monotonic() + PATIENCE
    while (event := slot.step())["event"] == "beat":
        assert time.monotonic() < deadline, "nothing but heartbeats"
    return event


def until_end(slot: Slot) -> list[Event]:
    """Wait for the end of a trial."""
    events = [hear(slot)]
    while events[-1]["event"] == "report":
        events.append(hear(slot))
    return events


def weights(bench: Bench, event: dict[str, Any], name: str = "model") -> Any:
    """Read what a report has saved of a model."""
    import torch

    return torch.load(bench.root / "run" / event["checkpoint"] / f"{name}.pt", weights_only=True)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """List the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def zygote_of(slot: Slot) -> int:
    """Find the pid of a slot's zygote."""
    return int(slot._launcher._process.pid)  # type: ignore[attr-defined]


def open_files() -> int:
    """Count this process's descriptors."""
    return len(os.listdir("/proc/self/fd"))
