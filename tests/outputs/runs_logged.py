"""Runs for the tests of the loggers: what is logged, and how a logger sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.core.state import RunState
from tuner.ledger import read
from tuner.outputs.loggers.asked import asked
from tuner.spec.experiment import Experiment

from .runs_made import MIXED, experiment, shown

METRIC = "val/score @1"


def spec(*loggers: Any, **parts: Any) -> Experiment:
    objective = {"metric": METRIC, "mode": "max"}
    return experiment(
        **{
            "budget": {"trials": 6, "epochs": 9},
            "space": MIXED,
            "fixed": {"batch": 64},
            "scheduler": {"kind": "asha"},
            "objective": objective,
            **parts,
        },
        loggers=list(loggers),
    )


def logged(folder: Path, records: Any = None, close: bool = True) -> tuple[RunState, list[str]]:
    """Let the loggers of a run see it; returns what users were told."""
    said: list[str] = []
    source = list(read(folder)) if records is None else records
    loggers = Experiment.model_validate(source[0].spec).loggers
    return shown(source, *asked(loggers, folder, said.append), close=close), said
