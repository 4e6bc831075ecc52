"""How many trials one GPU is given at once: doubled as long as they get more done together, as measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

GAIN = 1.05
"""So much more work must be done in all for more trials at once."""
REPORTS = 2
"""So many epochs of each trial that shares a GPU are asked for before it is judged."""
MOST = 16
"""No more trials share a GPU."""


@dataclass(slots=True)
class Packing:
    """Counts 1, 2, 4, ... trials a GPU, and stops where the sum of their speeds no longer grows."""

    level: int = 1
    """So many trials may share a GPU."""
    settled: bool = False
    sums: dict[int, float] = field(default_factory=dict)
    """Trials at once → their work in all, where one trial alone does 1."""
    speeds: dict[int, list[float]] = field(default_factory=dict)
    """Trials at once → the speeds of single ones, as measured so far; 1 is that of a trial alone."""

    def heard(self, together: int, alone: float, step: float) -> None:
        """Take in an epoch: how many trials shared the GPU, and its seconds a step beside those when alone."""
        if self.settled or not self.level // 2 < together <= self.level or alone <= 0 or step <= 0:
            return
        speeds = self.speeds.setdefault(together, [])
        speeds.append(alone / step)
        if len(speeds) == REPORTS * together:
            self._judge(together)

    def _judge(self, together: int) -> None:
        """Hold the work of so many against that of half as many as may share a GPU."""
        self.sums[together] = together * median(self.speeds[together])
        half = self.level // 2
        if half and self.sums[together] < GAIN * self.sums[half]:
            self.level, self.settled = half, True
        elif together == self.level and self.level < MOST:
            self.level *= 2
        elif together == MOST:
            self.settled = True
