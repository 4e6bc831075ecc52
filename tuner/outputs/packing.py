"""How many trials share a GPU, told when it changes: what they get done side by side was measured."""

from __future__ import annotations

from collections.abc import Callable

from tuner.core.packing import Packing
from tuner.core.records import Record
from tuner.core.state import RunState


class Shared:
    """Tells how many trials may share a GPU, and why."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._told = ""

    def see(self, record: Record, run: RunState) -> None:
        """Look whether something was learned."""
        text = told(run.gpus.packing)
        if any(entry.gpus == "auto" for entry in run.spec.resource_entries) and text not in ("", self._told):
            self.say(text)
            self._told = text

    def close(self, run: RunState) -> None:
        """Nothing is left open."""


def told(packing: Packing) -> str:
    """Say what was measured; empty where nothing was."""
    if not packing.sums:
        return ""
    sums = packing.sums
    work = ", ".join(f"{level} trial{'s' * (level > 1)} {sums[level] / sums[1]:.2f}" for level in sorted(sums))
    what = (
        f"{packing.level} share one, no more"
        if packing.settled
        else f"up to {packing.level} may share one where memory allows"
    )
    return f"work of a GPU, one trial alone taken as 1: {work}; {what}"
