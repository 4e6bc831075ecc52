"""`loggers:`: a run's curves as CSV, the thread between a run and a service, and what is not installed."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import wait_for

from tuner.core.records import Record, Report
from tuner.core.state import RunState
from tuner.core.trial import TrialState
from tuner.ledger import read
from tuner.outputs.loggers import uploader
from tuner.outputs.loggers.uploader import Uploader
from tuner.spec.load import from_mapping

from .runs_logged import METRIC, logged, spec
from .runs_made import USUAL, by_hand, experiment, reported, shown, simulated, suggested, trainable

pytestmark = pytest.mark.slow


# ---------------------------------------------------------------------- CSV


def test_the_curves_hold_all_that_was_reported(tmp_path: Path) -> None:
    (folder := tmp_path / "run").mkdir()
    records = by_hand(
        spec("csv"),
        suggested("t0000", lr=0.1),
        reported("t0000", 1, **{METRIC: 0.1, 'a "b", c': math.nan}),
        suggested("t0001", lr=0.2),
        reported("t0001", 2, **{METRIC: 1 / 3}),
        reported("t0000", 2, end="diverged", **{METRIC: -math.inf}),
    )
    for _ in range(2):  # the second driver begins anew
        logged(folder, records)
        with (folder / "curves.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [(row["trial"], row["epoch"], row["metric"], float(row["value"])) for row in lines[::3]] == [
            ("t0000", "1", METRIC, 0.1),
            ("t0000", "2", METRIC, -math.inf),
        ]
        assert (lines[1]["metric"], lines[1]["value"]) == ('a "b", c', "nan")
        assert float(lines[2]["value"]) == 1 / 3


# ---------------------------------------------------------------------- the thread between


class Service:
    """A service that a test can break."""

    name = "It"

    def __init__(self, patience: float = 600.0) -> None:
        self.patience = patience
        self.works, self.hangs = True, threading.Event()
        self.refused: set[str] = set()
        self.hangs.set()
        self.began = self.finished = 0
        self.reports: dict[str, int] = {}

    def begin(self, run: RunState, identity: str) -> None:
        self.began += 1

    def update(self, trial: TrialState, run: RunState) -> Iterator[None]:
        self.hangs.wait()
        if not self.works or trial.id in self.refused:
            raise OSError("gone\naway")
        self.reports[trial.id] = len(trial.reports)
        yield

    def finish(self, run: RunState) -> Iterator[None]:
        self.finished += 1
        yield


def lively(*records: Record) -> list[Record]:
    return [replace(record, time=time.time() + 5) for record in by_hand(spec(), *records)]


def test_what_a_service_missed_is_sent_when_it_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader, "FIRST_REST", 0.01)
    said: list[str] = []
    service = Service()
    service.works = False
    one = Uploader(service, tmp_path, said.append)
    run = shown(lively(suggested("t0000", lr=0.1), suggested("t0001", lr=0.1)), one, close=False)
    wait_for(lambda: one._fails > 3)
    assert said == ["It: is left alone for a while, and the run goes on: gone away"]
    service.works = True
    wait_for(lambda: len(said) == 2)
    assert said[1] == "It: answers again, and has all that it missed"
    assert service.reports == {"t0000": 0, "t0001": 0}
    one.close(run)
    assert (service.began, service.finished, len(said)) == (1, 1, 2)


def test_a_trial_that_a_service_does_not_take_holds_up_no_other(tmp_path: Path) -> None:
    said: list[str] = []
    service = Service()
    service.refused = {"t0001"}
    one = Uploader(service, tmp_path, said.append)
    for record in lively(*(suggested(f"t000{i}", lr=0.1) for i in range(4))):
        one.see(record, one.run)
    wait_for(lambda: service.reports.keys() == {"t0000", "t0002", "t0003"})
    for i in (1, 3):
        one.see(replace(reported(f"t000{i}", 1, **{METRIC: 0.5}), time=time.time() + 5), one.run)
    wait_for(lambda: service.reports["t0003"] == 1)  # while the other one has its rest of half a minute
    one.close(one.run)
    fix = f"Send it with: tuner --resume {tmp_path}"
    assert said == ["It: cannot take t0001: gone away", f"It: does not have all of the run: t0001 is missing. {fix}"]
    assert service.finished == 1


def test_each_step_of_the_end_is_progress(tmp_path: Path) -> None:
    moved: list[float] = []

    class Slow(Service):
        def finish(self, run: RunState) -> Iterator[None]:
            for _ in range(4):
                moved.append(one._moved)
                yield

    one = Uploader(Slow(), tmp_path, lambda text: None)
    shown(lively(suggested("t0000", lr=0.1)), one)
    assert moved == sorted(set(moved))
    assert len(moved) == 4


def test_a_service_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    service = Service(patience=0.05)
    service.hangs.clear()
    one = Uploader(service, tmp_path, said.append)
    shown(lively(suggested("t0000", lr=0.1)), one)
    fix = f"Send it with: tuner --resume {tmp_path}"
    assert said == [f"It: does not have all of the run: t0000 is missing. {fix}"]
    service.hangs.set()
    wait_for(lambda: not one._thread.is_alive())
    assert len(said) == 1


def test_what_earlier_drivers_wrote_is_read_as_a_whole_first(tmp_path: Path) -> None:
    service = Service()
    one = Uploader(service, tmp_path, lambda text: None)
    run = shown(by_hand(spec(), suggested("t0000", lr=0.1), reported("t0000", 1, **{METRIC: 0.5})), one, close=False)
    wait_for(lambda: one.run.records == run.records)
    assert not service.began
    one.close(run)
    assert (service.began, service.reports, service.finished) == (1, {"t0000": 1}, 1)


# ---------------------------------------------------------------------- what is not installed


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_an_error_before_anything_starts(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuner.cli import main

    trainable(tmp_path, ["x"])
    (tmp_path / "run.yaml").write_text(json.dumps({**USUAL}, indent=1)[:-2] + f',\n "loggers": ["csv", "{kind}"]\n}}')
    (tmp_path / kind).mkdir()  # a mere folder of that name is no module
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    for flags in ([], ["--check", "--no-dashboard"]):
        assert main(["--space", "run.yaml", *flags]) == 2
        error = capsys.readouterr().err
        assert error.startswith("run.yaml:")
        assert f": loggers.1: must be a logger that is installed, but got {kind}, and no module named {kind}" in error
        assert error.endswith(f"Run pip install -c constraints.txt -e '.[{kind}]' in tuner's folder.\n")
    assert not (tmp_path / "runs").exists()


def test_other_loggers_at_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of a run that is over, and where one of the first is not installed."""
    from tuner.cli import main

    trainable(tmp_path, ["x"])
    folder = simulated(tmp_path / "run", experiment(loggers=[{"kind": "wandb"}]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    assert main(["--resume", "run"]) == 2
    assert "loggers.0: must be a logger that is installed, but got wandb" in capsys.readouterr().err
    before = (folder / "ledger").read_bytes()
    assert main(["--resume", "run", "--set", "loggers=[csv]"]) == 0
    with (folder / "curves.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == sum(isinstance(record, Report) for record in read(folder))
    assert (folder / "ledger").read_bytes() == before


def test_a_folder_named_wandb_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from tuner.spec.loggers import _is_installed

    (tmp_path / "a_folder_alone").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not _is_installed("a_folder_alone")
    assert _is_installed("wandb")
    assert "a_folder_alone" not in sys.modules


def test_names_and_mappings_mean_the_same(tmp_path: Path) -> None:
    trainable(tmp_path, ["x"])
    short, long = (from_mapping({**USUAL, "loggers": [one]}, tmp_path) for one in ("csv", {"kind": "csv"}))
    assert short.experiment == long.experiment
