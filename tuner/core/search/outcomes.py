"""What each outcome of a trial is to Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import TrialState

from tuner.core.records import Outcome, Record
from tuner.core.search.earlier import frozen
from tuner.core.state import replay
from tuner.core.trial import TrialState as Known
from tuner.spec.experiment import Experiment

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


def state_of(spec: Experiment, trial: Known) -> TrialState:
    """Tell what a trial that has ended is to the samplers.

    Optuna knows no values on the way to several objectives, and NSGA-II learns of complete trials alone.
    """
    assert trial.outcome is not None
    takes_stopped = len(spec.objectives) > 1 or spec.search.kind == "nsga2"
    if trial.breaks or (trial.outcome == "stopped" and trial.best is not None and takes_stopped):
        state = TrialState.COMPLETE
    elif trial.outcome == "infeasible" and spec.search.kind == "tpe":
        state = TrialState.PRUNED  # as a failure the sampler would not hear of it, and propose its neighbours
    else:
        state = STATES[trial.outcome]
    return TrialState.FAIL if state == TrialState.COMPLETE and trial.best is None else state


def is_starting(spec: Experiment, records: Sequence[Record]) -> bool:
    """Tell whether after these records the searcher still draws at random: too few trials have ended that it counts.

    To TPE those count that were stopped, too.
    """
    if not (startup := getattr(spec.search, "startup", 0)):
        return False
    counts = {TrialState.COMPLETE, TrialState.PRUNED} if spec.search.kind == "tpe" else {TrialState.COMPLETE}
    states = [state_of(spec, trial) for trial in replay(records).trials.values() if trial.status == "ended"]
    states += [trial.state for trial in frozen(spec)]
    return sum(state in counts for state in states) < startup
