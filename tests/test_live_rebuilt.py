"""A run that is gone on with: what its next session builds from the ledger."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from played import Played, experiment

from tuner.core.records import Asked, Header, Record
from tuner.core.state import replay
from tuner.engine.run import _begin as begin
from tuner.engine.run import _rebuild as rebuild
from tuner.engine.run import create
from tuner.errors import UserError
from tuner.ledger import Ledger, read
from tuner.runs import find_run


def test_after_the_ledger_was_cut_a_session_does_not_take_the_number_of_a_forgotten_one(tmp_path: Path) -> None:
    played = Played(tmp_path)
    forgotten = played.work().checkpoint_name(2).replace("_a1.", "_a7.")
    played.close()
    (tmp_path / forgotten).mkdir(parents=True)
    begun = begin(Played(tmp_path).live)
    assert begun.core.run.attempt == 8


def test_a_run_is_rebuilt_from_what_it_began_with_though_its_budget_grew(tmp_path: Path) -> None:
    both = {"search": {"kind": "auto"}, "scheduler": {"kind": "auto"}}
    played = Played(tmp_path, slots=2, budget={"trials": 12, "epochs": 4}, **both)
    played.run()
    played.ledger.append(Asked(budget={"epochs": 8}))
    played.close()
    core = rebuild(ledger := Ledger(tmp_path), Heard())
    ledger.close()
    assert core.asker.tops == [4], "then those that were finished there may go on"
    assert core.run.spec.budget.epochs == 8


class Heard:
    def put(self, record: Record) -> None:
        pass


def test_numbers_that_json_has_not_come_back_as_they_are(tmp_path: Path) -> None:
    spec = experiment(
        fixed={"clip": math.inf, "off": None}, space={"x": {"dist": "choice", "values": [-math.inf, 1.0]}}
    )
    create(tmp_path / "r", spec, tmp_path)
    kept = replay(read(tmp_path / "r")).spec
    assert kept == spec and kept.fixed == {"clip": math.inf, "off": None}


def test_a_run_with_settings_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    create(tmp_path / "r", experiment(), tmp_path)
    (header,) = read(tmp_path / "r")
    assert isinstance(header, Header)
    header.spec["budget"]["warp"] = 9
    with pytest.raises(UserError, match=r"^r: budget\.warp: must be settings .* Use the run's own, or a later one\."):
        replay([header])


def test_a_run_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path / "r", experiment(), tmp_path)

    def denied(*given: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name, look in (("read_bytes", read), ("exists", find_run)):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, denied)
            with pytest.raises(UserError, match="a run that may be read, but got: Permission denied"):
                look(tmp_path / "r")
