"""Runs for the tests of what people look at: made by the simulator or by hand, written to a real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.core.lines import from_json, to_json
from tuner.core.records import (
    SCHEMA,
    Clone,
    Decision,
    Ended,
    Header,
    Outcome,
    Record,
    Report,
    Session,
    Suggested,
)
from tuner.core.state import RunState
from tuner.ledger import Ledger, read
from tuner.simulate import Simulation
from tuner.spec.experiment import Experiment

USUAL: dict[str, Any] = {
    "trainable": "train:train",
    "objective": {"metric": "score", "mode": "max"},
    "budget": {"trials": 12, "epochs": 9},
    "space": {"x": {"dist": "float", "low": 0.0, "high": 1.0}},
    "search": {"kind": "random"},
    "scheduler": {"kind": "none"},
}
MIXED: dict[str, Any] = {
    "lr": {"dist": "float", "low": 1e-4, "high": 1.0, "log": True},
    "layers": {"dist": "int", "low": 1, "high": 8},
    "optimizer": {"dist": "choice", "values": ["sgd", "adam", None]},
    "momentum": {"dist": "choice", "values": [0.0, 0.5, 0.9], "when": {"optimizer": "sgd"}},
    "nesterov": {"dist": "choice", "values": [True, False], "when": {"momentum": [0.5, 0.9]}},
    "widths": {"dist": "choice", "values": [[8, 16], [16, [32]], None]},
}
CODE = "def train(trial, *, {names}):\n    trial.track(model=None)\n    trial.report(score=1.0)\n"


def experiment(**parts: Any) -> Experiment:
    return Experiment.model_validate({**USUAL, **parts})


def curve(params: Mapping[str, Any], epoch: int) -> float:
    numbers = [float(value) for value in params.values() if isinstance(value, int | float)]
    height = sum((i + 1) * number for i, number in enumerate(numbers)) % 1
    return height * (1 - 0.6**epoch)


def simulated(
    folder: Path, spec: Experiment, curve: Callable[[Mapping[str, Any], int], float] = curve, slots: int = 2
) -> Path:
    """Simulate a run into a folder."""
    return written(folder, Simulation(spec, curve, slots).run())


def written(folder: Path, records: Iterable[Record]) -> Path:
    """Write records to a ledger, under the folder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder)
    for record in records:
        is_head = isinstance(record, Header)
        ledger.append(replace(record, name=folder.name, folder=str(folder.parent)) if is_head else record)
    ledger.close()
    return folder


def by_hand(spec: Experiment, *records: Record, slots: int = 2) -> list[Record]:
    """Begin a run whose further records are given."""
    head = Header(schema=SCHEMA, name="hand", spec=spec.model_dump(), folder=".")
    return [head, Session(attempt=1, host="h", pid=1, slots=slots, versions={"python": "3"}), *records]


def suggested(trial: str, **params: Any) -> Suggested:
    return Suggested(trial=trial, params=params, choices={}, seen=0)


def reported(trial: str, epoch: int, end: Outcome | None = None, reason: str = "", **metrics: float) -> Report:
    decision = Decision(action="end" if end else "go", outcome=end, reason=reason)
    return Report(
        trial=trial, generation=0, epoch=epoch, metrics=metrics, checkpoint=None, decision=decision, seconds=1.0
    )


def failed(trial: str, reason: str, error: str = "") -> Ended:
    return Ended(trial=trial, outcome="failed", reason=reason, error=error)


def shown(source: Path | Iterable[Record], *observers: Any, close: bool = True) -> RunState:
    """Let observers see a run."""
    run = RunState()
    for record in read(source) if isinstance(source, Path) else source:
        record = from_json(to_json(record))
        run.apply(record)
        for observer in observers:
            observer.see(record, run)
    for observer in observers if close else ():
        observer.close(run)
    return run


def trainable(folder: Path, spec_names: Iterable[str], name: str = "train") -> Path:
    """Write a module whose function takes these names."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(CODE.format(names=", ".join(f"{key}=None" for key in spec_names)))
    return file


def cloned(trial: str, epoch: int, generation: int, donor: Report, score: float, action: Any = "clone") -> Report:
    """Report, and go on from the checkpoint of another trial's report."""
    assert donor.checkpoint is not None
    clone = Clone(donor=donor.trial, epoch=donor.epoch, checkpoint=donor.checkpoint, params={"x": 0.5}, choices={})
    return replace(
        reported(trial, epoch, score=score), generation=generation, decision=Decision(action=action, clone=clone)
    )
