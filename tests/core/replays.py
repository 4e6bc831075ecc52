"""Runs to replay, and their replays under other settings."""

from __future__ import annotations

from typing import Any

from tuner.core.course import Course
from tuner.replay import Curves, Replay, what_if
from tuner.simulate import Simulation
from tuner.spec.alternative import alternative

from .experiments import curve, experiment

SCHEDULERS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "asha": {"kind": "asha", "reduction_factor": 3},
    "promote": {"kind": "asha", "reduction_factor": 2, "promote": True},
    "hyperband": {"kind": "hyperband", "reduction_factor": 3},
    "median": {"kind": "median", "min_trials": 2},
}
SMALL = {"trials": 12, "epochs": 9}


def crossing(params: Any, epoch: int) -> float:
    """Let who is ahead early not be the best in the end."""
    return curve(params, epoch) - 2 * abs(params["x"] - 0.5) / epoch


def simulation(scheduler: str, **parts: Any) -> Simulation:
    """Simulate a run whose trials take different times."""
    spec = experiment(**{"budget": SMALL, "scheduler": SCHEDULERS[scheduler], **parts})
    made = Simulation(spec, crossing, slots=3, cost=lambda params, epoch: 1 + params["x"])
    made.run()
    return made


def values(curves: Curves) -> list[float]:
    return [report.metrics["score"] for trial in curves.trials for report in trial.reports]


def replayed(curves: Curves, *overrides: str) -> tuple[Course, Replay]:
    """Replay under other settings; gives what is said of it, and the replay itself."""
    other = alternative(curves.run.spec, overrides, len(curves.trials))
    played = Replay(other, curves)
    played.run()
    assert what_if(curves, other).other == played.course()
    return played.course(), played


def scheduler(name: str) -> str:
    pairs = ", ".join(f"{key}: {str(value).lower()}" for key, value in SCHEDULERS[name].items())
    return f"scheduler={{{pairs}}}"
