"""How many trials one GPU is given at once: doubled as long as they get more done together, as measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

GAIN = 1.05
"""So much more work must be done in all for twice as many trials at once."""
REPORTS = 2
"""So many epochs of each trial that shares a GPU are asked for before it is judged."""


@dataclass(slots=True)
class Packing:
    """Counts 1, 2, 4, ... trials a GPU, and stops where the sum of their speeds no longer grows."""

    level: int = 1
    """So many trials may share a GPU."""
    settled: bool = False
    sums: dict[int, float] = field(default_factory=dict)
    """Trials at once → their work in all, where one trial alone does 1."""
    speeds: list[float] = field(default_factory=list)
    """Of the present level, as measured so far; 1 is that of a trial alone."""

    def heard(self, together: int, alone: float, step: float) -> None:
        """Take in an epoch: how many trials shared the GPU, and its seconds a step beside those when alone."""
        if self.settled or together != self.level or alone <= 0 or step <= 0:
            return
        self.speeds.append(alone / step)
        if len(self.speeds) >= REPORTS * self.level:
            self._judge()

    def _judge(self) -> None:
        self.sums[self.level] = self.level * median(self.speeds)
        self.speeds = []
        half = self.level // 2
        if half and self.sums[self.level] < GAIN * self.sums[half]:
            self.level, self.settled = half, True
        else:
            self.level *= 2
