"""A function with a known optimum in place of a model: no torch, no data, an epoch in microseconds; for tests."""

from __future__ import annotations

import math
import time
from typing import Any

from tuner import Trial

OPTIMUM = {"x": 0.3, "y": -0.2}
"""Where `floor` is 0, its least value; no epoch of any other params can end below their own floor."""


def train(
    trial: Trial,
    *,
    x: float,
    y: float = OPTIMUM["y"],
    rate: float = 0.5,
    sleep: float = 0.0,
    fail_epoch: int | None = None,
    diverge_epoch: int | None = None,
) -> None:
    """Report `loss` and `score` (1 - loss) at each epoch; the optimum is x = 0.3, y = -0.2.

    Starting from 1 above it, the loss comes nearer to floor(x, y) by the share `rate` of what is left:
    after e epochs it is floor(x, y) + (1 - rate) ** e, so curves do not cross and the best is known.
    `sleep` is in seconds an epoch; at `fail_epoch` it raises RuntimeError, at `diverge_epoch` it reports NaN.
    """
    progress = Progress()
    trial.track(progress=progress)
    trial.test(lambda: {"test_loss": floor(x, y) + progress.above})
    for epoch in trial.epochs():
        time.sleep(sleep)
        if epoch == fail_epoch:
            raise RuntimeError(f"failed at epoch {epoch}, as asked by fail_epoch")
        progress.advance(rate)
        loss = math.nan if epoch == diverge_epoch else floor(x, y) + progress.above
        trial.report(loss=loss, score=1 - loss, steps=progress.steps)


def floor(x: float, y: float) -> float:
    """Compute what the loss comes down to: a bowl with its bottom, 0, at the optimum."""
    return (x - OPTIMUM["x"]) ** 2 + (y - OPTIMUM["y"]) ** 2


class Progress:
    """What a checkpoint of a toy holds: how far the loss still is above its floor, and how many epochs that took."""

    def __init__(self) -> None:
        self.above = 1.0
        self.steps = 0

    def advance(self, rate: float) -> None:
        """Train for one epoch."""
        self.above *= 1 - rate
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain numbers."""
        return {"above": self.above, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.above, self.steps = float(state["above"]), int(state["steps"])
