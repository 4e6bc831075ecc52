"""What the next process of a trial is told: its params, from which checkpoint, how far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.core import chance
from tuner.core.records import trial_id
from tuner.core.run import Core
from tuner.core.trial import TrialState
from tuner.engine.machines import Share
from tuner.spec.experiment import Experiment
from tuner.storage.machine import this_machine
from tuner.trial import Assignment
from tuner.trial.checkpoint import is_whole

WORDS_A_SECOND = 100
"""So often all workers together speak to the driver where no trial waits for its answer, as far as the beats allow it.

A word takes the driver some milliseconds of CPU (benchmarks/SCALING.md), whatever an epoch takes.
"""
BEATS = 1.0, 5.0
"""The shortest and the longest, seconds: people wait for a stop, and Ray forgets gauges that are not set for 20 s."""


def beat(workers: int) -> float:
    """Find for how many seconds a worker that nobody waits for may be silent, where so many work at once."""
    shortest, longest = BEATS
    return min(max(shortest, workers / WORDS_A_SECOND), longest)


def assign(core: Core, trial: TrialState, folder: str, share: Share, storage: str = "") -> Assignment:
    """Make the assignment of a trial that goes on, or begins, with this share of a machine.

    At a `storage`, a URL, every checkpoint that the ledger names is whole: it was put before its report was heard of.
    """
    spec, run = core.spec, core.run
    checkpoint, epoch = trial.checkpoint if storage else _newest_whole(trial, Path(folder), run.attempt)
    return Assignment(
        run=folder,
        trial=trial.id,
        params={**spec.fixed, **trial.params},
        seed=trial.training_seed(spec.seed),
        **reported(spec),
        epochs=spec.budget.epochs,
        storage=storage,
        machine=this_machine() if storage else "",
        generation=trial.generation,
        since=trial.since,
        attempt=f"{run.attempt}.{trial.losses}",
        checkpoint=checkpoint,
        epoch=epoch,
        cloned=trial.clone is not None and checkpoint == trial.clone.checkpoint,
        save_every=spec.checkpoint.every,
        save_at=frozenset() if trial.of else core.rule.saved_epochs(),
        judged_at=frozenset() if trial.of else core.rule.judged_epochs(),
        verify=run.best_saved is None,
        horizon=run.horizon,
        beat=beat(min(run.slots, spec.most_at_once)),
        patience=spec.watchdog.seconds,
        precision=spec.precision,
        parts=trial.parts,
        cpus=share.cpus // share.ranks,
        gpus=share.gpus,
        context=run.gpus.context,
        node=share.node,
        task="probe" if share.probe else "train",
        ranks=share.ranks,
    )


def assign_first(spec: Experiment, folder: str) -> Assignment:
    """Make the assignment of a run's first trial in one process, without a run."""
    from tuner.core.search.kinds import make_asker

    params = {**spec.fixed, **make_asker(spec).ask(0).params}
    resources = spec.resources_of(params)
    return Assignment(
        run=folder,
        trial=trial_id(0),
        params=params,
        seed=chance.integer(spec.seed, "trial", 0),
        **reported(spec),
        epochs=spec.budget.epochs,
        precision=spec.precision,
        cpus=resources.cpus,
        gpus=resources.share / resources.world_size,
    )


def reported(spec: Experiment) -> dict[str, Any]:
    """Name what every report must hold."""
    first, *others = (objective.metric for objective in spec.objectives)
    return {"metric": first, "objectives": tuple(others), "constrained": tuple(spec.constraints)}


def _newest_whole(trial: TrialState, folder: Path, session: int) -> tuple[str | None, int]:
    """Pass over what a loss of power has torn: known epochs are trained again, and decided once.

    What this session saved no such loss has touched: summing it up would hold up all decisions, a second for a GiB.
    """
    for checkpoint, epoch in trial.checkpoints():
        if is_whole(folder / checkpoint, sums=f"_a{session}." not in checkpoint):
            return checkpoint, epoch
    return None, 0
