"""How many trials one GPU is given at once: doubled as long as they get more done together, as measured."""

from __future__ import annotations

from statistics import median

GAIN = 1.05
"""So much more work must be done in all for twice as many trials at once."""
REPORTS = 2
"""So many epochs of each trial that shares a GPU are asked for before it is judged."""


class Packing:
    """Counts 1, 2, 4, ... trials a GPU, and stops where the sum of their speeds no longer grows."""

    def __init__(self) -> None:
        self.level = 1
        """So many trials may share a GPU."""
        self.settled = False
        self.sums: dict[int, float] = {}
        """Trials at once → their work in all, where one trial alone does 1."""
        self._speeds: list[float] = []

    def heard(self, together: int, alone: float, step: float) -> None:
        """Take in an epoch: how many trials shared the GPU, and its seconds a step beside those when alone."""
        if self.settled or together != self.level or alone <= 0 or step <= 0:
            return
        self._speeds.append(alone / step)
        if len(self._speeds) >= REPORTS * self.level:
            self._judge()

    def _judge(self) -> None:
        self.sums[self.level] = self.level * median(self._speeds)
        self._speeds = []
        half = self.level // 2
        if half and self.sums[self.level] < GAIN * self.sums[half]:
            self.level, self.settled = half, True
        else:
            self.level *= 2
