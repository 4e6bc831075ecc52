"""The contract of the loggers: every kind of them goes through the same tests."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import wait_for

from tuner.core.records import Asked, Report
from tuner.ledger import read
from tuner.outputs.loggers.asked import asked
from tuner.spec.experiment import Experiment
from tuner.spec.keys import LOGGERS

from .runs_made import by_hand, experiment, failed, reported, shown, simulated, suggested, written
from .services import wandb_records


def in_csv(folder: Path) -> int:
    with (folder / "curves.csv").open(newline="") as file:
        return len({(row["trial"], row["generation"], row["epoch"]) for row in csv.DictReader(file)})


def in_wandb(folder: Path) -> int:
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    for file in files:
        wait_for(lambda file=file: "exit" in [one.WhichOneof("record_type") for one in wandb_records(file)])
    return sum(one.WhichOneof("record_type") == "history" for file in files for one in wandb_records(file))


def in_mlflow(folder: Path) -> int:
    files = (folder / "mlflow").glob("*/*/metrics/score")
    return sum(len(file.read_text().splitlines()) for file in files)


CASES: dict[str, tuple[Callable[[Path], dict[str, Any]], Callable[[Path], int]]] = {
    "csv": (lambda folder: {}, in_csv),
    "wandb": (lambda folder: {"mode": "offline"}, in_wandb),
    "mlflow": (lambda folder: {"uri": (folder / "mlflow").as_uri()}, in_mlflow),
}
"""For each kind: its keys, for a run in this folder, and how to count the reports that it has told of."""


def spec(kind: str, folder: Path, **parts: Any) -> Experiment:
    return experiment(loggers=[{"kind": kind, **CASES[kind][0](folder)}], budget={"trials": 3, "epochs": 3}, **parts)


def logged(folder: Path) -> tuple[int, list[str]]:
    """Show it the run; returns how many reports there are by then, and what users were told."""
    said: list[str] = []
    records = list(read(folder))
    loggers = Experiment.model_validate(records[0].spec).loggers  # type: ignore[attr-defined]
    shown(records, *asked(loggers, folder, said.append))
    return CASES[loggers[0].kind][1](folder), said


def test_every_kind_is_tried() -> None:
    assert set(CASES) == set(LOGGERS)


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow would rather have a server


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_each_report_is_told_once_however_often_the_run_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    folder = simulated(tmp_path / "run", spec(kind, tmp_path / "run", scheduler={"kind": "asha"}))
    count = sum(isinstance(record, Report) for record in read(folder))
    assert [logged(folder), logged(folder)] == [(count, []), (count, [])]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_what_ends_badly_and_what_has_not_begun_is_no_trouble(kind: str, tmp_path: Path) -> None:
    made = spec(kind, tmp_path / "run")
    odd = by_hand(
        made, suggested("t0000", x=0.1), failed("t0000", "ValueError: „é“", "Traceback"), suggested("t0001", x=0.2),
        reported("t0001", 1, score=float("inf")), Asked(),
    )  # fmt: skip
    assert logged(written(tmp_path / "run", odd)) == (1, [])
    empty = tmp_path / "empty"
    assert logged(written(empty, by_hand(spec(kind, empty)))) == (0, [])
