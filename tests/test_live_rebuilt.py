"""A run that is gone on with: what its next session builds from the ledger."""

from __future__ import annotations

import math
from pathlib import Path

from played import Played, experiment

from tuner.core.records import Asked, Record
from tuner.core.state import replay
from tuner.engine.run import _begin as begin
from tuner.engine.run import _rebuild as rebuild
from tuner.engine.run import create
from tuner.ledger import Ledger, read


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
