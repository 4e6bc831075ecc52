"""The best model meets the test split: once, in a process of its own, restored from its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tuner.core import confirm
from tuner.core.state import RunState
from tuner.core.trial import Best
from tuner.engine.assign import reported
from tuner.slot.code import Code
from tuner.slot.process import failure
from tuner.slot.slot import Event, Slot
from tuner.spelled import spelled
from tuner.storage import BEST, write_whole
from tuner.trial import Assignment
from tuner.trial.checkpoint import Invalid, read_manifest

RESULT = Path(BEST) / "test.json"


@dataclass(frozen=True, slots=True)
class Model:
    """The run's result as it lies on the disk."""

    best: Best
    manifest: dict[str, Any]
    """That of its checkpoint."""


def read_best(folder: Path, run: RunState, say: Callable[[str], None]) -> Model | None:
    """Read the manifest of the best one's checkpoint, and all files once; None where there is none that is whole."""
    best = run.chosen
    if best is None or best.checkpoint is None:
        return None
    try:
        return Model(best, read_manifest(folder / best.checkpoint))
    except Invalid as error:
        say(f"The best model is neither measured on the test split nor written in other formats: {error}")
        return None


def evaluate(
    folder: Path, run: RunState, model: Model, code: Code, test: Code | None, zygote: str | None = None
) -> str | None:
    """Measure the best and write `best/test.json`; returns what went wrong, if anything did.

    `zygote` is the address of a shared one that has imported `code`. While a confirmation may still go on nothing is
    measured: what is chosen now need not be what it ends with.
    """
    best = model.best
    if known(folder / RESULT, best) or confirm.is_pending(run) or (test is None and not model.manifest["has_test"]):
        return None
    patience = run.spec.watchdog.patience(run.slowest)
    event = measure(test or code, stint(folder, run, best, "test"), None if test else zygote, patience)
    if event["event"] != "tested":
        return str(event["reason"])
    metrics = spelled(event["metrics"])
    facts = {"trial": best.trial, "epoch": best.epoch, "checkpoint": best.checkpoint, "metrics": metrics}
    write_whole(folder / RESULT, json.dumps(facts, indent=2) + "\n")
    return None


def known(path: Path, best: Best) -> bool:
    """Tell whether a file in `best/` holds what was found of the best one's checkpoint."""
    return path.exists() and bool(json.loads(path.read_text())["checkpoint"] == best.checkpoint)


def stint(folder: Path, run: RunState, best: Best, task: Literal["test", "take"]) -> Assignment:
    """Make the assignment of a process that does something else with the best than train it."""
    spec = run.spec
    resources, trial = spec.resources_of(best.params), run.find(best.trial)
    gpus = trial.given.gpus if trial.given else resources.share
    return Assignment(
        run=str(folder.resolve()),
        trial=best.trial,
        params={**spec.fixed, **best.params},
        seed=trial.training_seed(spec.seed),
        **reported(spec),
        epochs=spec.budget.epochs,
        checkpoint=best.checkpoint,
        epoch=best.epoch,
        precision=spec.precision,
        cpus=resources.cpus,
        gpus=0 if task == "take" else gpus / resources.world_size,  # one process; what is taken away is on the CPU
        task=task,
    )


def measure(code: Code, assignment: Assignment, zygote: str | None, patience: float) -> Event:
    """Run it to its end, in a slot of its own."""
    slot = Slot(replace(code, plain_ray=False), assignment.cpus, zygote)
    try:
        slot.begin(assignment)
        while (event := slot.step())["event"] == "beat":
            if event["silent"] > patience:
                return failure(f"it was silent for {event['silent']:.0f} s")
        return event
    finally:
        slot.close()
