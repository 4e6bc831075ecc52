"""What each outcome of a trial is to Optuna."""

from __future__ import annotations

from optuna.trial import TrialState

from tuner.core.records import Outcome

STATES: dict[Outcome, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "killed": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.FAIL,
    "lost": TrialState.FAIL,
    "stalled": TrialState.FAIL,
}
"""A diverged trial is pruned, but without values: the samplers rank it behind all others."""
