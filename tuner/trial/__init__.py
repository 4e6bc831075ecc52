"""What user code sees: a `trial`, and the checkpoints behind it. Nothing here knows of Ray."""

from tuner.trial.assignment import Assignment
from tuner.trial.trial import Trial

__all__ = ["Assignment", "Trial"]
