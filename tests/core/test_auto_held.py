"""Freeze-thaw of so many trials that its model does not hold all that it was shown."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.audit import audit
from tuner.core.events import Free
from tuner.core.records import Promoted, trial_number
from tuner.core.rules.thaw import leader
from tuner.core.run import Core
from tuner.core.search import model
from tuner.core.search.joint import Rows
from tuner.core.search.thaw import FreezeThaw

from .experiments import Hand, auto, curve, decides_alike_in_threads, play

pytestmark = pytest.mark.slow

HELD, KEPT, SLOTS = 60, 40, 3
BOUND = HELD + model.LAG + KEPT // model.LAG_SHARE + 2 * SLOTS
"""With what comes until a fit is taken, and what is on its way."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "HELD", HELD)
    monkeypatch.setattr(model, "KEPT", KEPT)


def test_it_holds_no_more_and_who_is_forgotten_goes_on_only_as_the_best_of_all() -> None:
    spec = auto(trials=100)
    hand = play(spec, curve, slots=SLOTS, seed=1)
    core, most, forgotten = Core(spec, asker := FreezeThaw(spec)), 0, set[int]()
    for record in hand.records:
        if isinstance(record, Promoted) and trial_number(record.trial) in forgotten:
            assert core.run.is_spent_by(0)
        core.apply(record)
        most = max(most, len(asker.model._held))
        forgotten |= {trial.number for trial in core.run.having("paused") if trial.number not in asker.pool.trials}
    assert len(asker.model.seen) > 2 * HELD, "else it is no test"
    assert len(forgotten) > 20, "else it is no test"
    assert most <= BOUND
    assert audit(hand.records, {}).difference == ""


def test_a_resume_decides_what_the_run_would_have_wherever_fits_are_computed() -> None:
    spec = auto(trials=100)
    hand = play(spec, curve, slots=SLOTS, seed=2, faults=0.1)
    decides_alike_in_threads(spec, hand.records, range(150, len(hand.records), 61))


def test_a_budget_that_grows_while_a_fit_forgets_keeps_the_bound() -> None:
    made, point = model.Model(np.zeros(1, dtype=np.int64), last=20, seed=0), np.zeros(1)
    forgot = 0
    for trial in range(4 * HELD):
        made.open(trial, point + trial / HELD, 1)
        if made.close(trial, float(trial % 7)):
            made.rescale(made.last + 1)
            assert len(made._held) == KEPT
            forgot += 1
        assert len(made._held) <= BOUND
    assert forgot > 1, "else it is no test"


def test_where_the_model_lets_none_go_on_the_best_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(auto(trials=3, search={"kind": "auto", "epochs": 100}), slots=3)
    for name, answer in (("keeps", False), ("goes_on", None)):  # as where all that are paused are forgotten
        monkeypatch.setattr(hand.core.asker, name, lambda *_, answer=answer: answer)
    while hand.do(Free()) is not None:
        pass
    for trial in hand.core.run.trials.values():
        while trial.status == "running":
            hand.report(trial.id, trial.epoch + 1, curve(trial.params, trial.epoch + 1))
    best = leader(hand.core.run)
    assert best is not None and hand.core.rule.next(hand.core.run) == best.id


def test_who_leads_at_any_rung_is_kept() -> None:
    s = np.array([0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0])
    rows = Rows(np.zeros((8, 1)), s, np.array([1, 2, 3, 3, 4, 5, 5, 6]))
    values = np.array([0.9, 0.1, 0.8, 0.5, 0.2, 0.7, 0.6, 0.3])
    standing = model._standing(rows, values)
    assert standing.tolist() == [-1 / 6, -1, -1, -1, -5 / 6, -1, -1, -4 / 6]
    assert model._reach(rows).tolist() == [0, 0, 0.5, 0.5, 0, 1, 1, 0]
    kept = model._telling(rows.trial, standing, seed=0, most=4)
    assert {0, 7} <= set(kept.tolist()) and len(kept) == 4


def test_what_earlier_runs_showed_is_bounded_too() -> None:
    known = {"run": "a", "last_epoch": 20, "comparable": True, "epochs": [1, 20]}
    learned = [
        {
            **known,
            "trial": f"t{i}",
            "params": {"lr": 10 ** -(1 + i / 100), "momentum": 0.6, "layers": 3},
            "values": [0.1, i],
        }
        for i in range(200)
    ]
    asker = FreezeThaw(auto(start={"runs": ["a"], "learned": learned}))
    assert asker.model.is_ready
    assert len(asker.model._held) == KEPT < len(asker.model.seen) == 400
