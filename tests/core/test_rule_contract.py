"""The contract of the rules: every kind of scheduler goes through the same tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from tuner.core.records import Record, Report
from tuner.core.rules import make_rule
from tuner.core.search.kinds import make_asker
from tuner.core.state import replay
from tuner.spec.experiment import Experiment
from tuner.spec.keys import KINDS

from .experiments import PLAIN, curve, experiment, lines, play, resumed, simulate

CASES: dict[str, dict[str, Any]] = {
    "asha": {},
    "asha promoting": {"promote": True},
    "hyperband": {},
    "median": {"min_trials": 1},
    "pbt": {"interval_epochs": 2},
    "none": {},
    "auto": {},
}
"""Every kind, and what changes how it decides."""


def spec(case: str) -> Experiment:
    kind = case.partition(" ")[0]
    search = {"kind": "auto" if kind == "auto" else "random"}
    parts = {"space": PLAIN, "search": search, "budget": {"trials": 8, "epochs": 9}}
    return experiment(scheduler={"kind": kind, **CASES[case]}, **parts)


def mostly(params: Mapping[str, Any], epoch: int) -> float:
    """Diverge in one of nine configurations."""
    value = curve(params, epoch)
    return math.nan if int(value * 1e6) % 9 == 0 and epoch == 2 else value


@cache
def played(case: str, arrivals: int) -> tuple[Record, ...]:
    return tuple(play(spec(case), mostly, slots=3, seed=arrivals, faults=0.08).records)


def test_every_kind_is_tried() -> None:
    assert {case.partition(" ")[0] for case in CASES} == set(KINDS["scheduler"])


@pytest.mark.parametrize("case", CASES)
def test_a_run_comes_to_its_end_within_its_budget_whatever_comes(case: str) -> None:
    for arrivals in range(3):
        run = replay(played(case, arrivals))
        assert run.finished()
        assert all(trial.status == "ended" and trial.outcome for trial in run.trials.values())
        assert all(trial.epoch <= run.spec.budget.epochs for trial in run.trials.values())
        assert len(run.trials) <= run.spec.trials
        assert any(trial.epoch > 1 for trial in run.trials.values()), "not all are stopped at once"


@pytest.mark.parametrize("case", CASES)
def test_it_decides_at_the_epochs_alone_that_it_names(case: str) -> None:
    """Elsewhere a trial does not wait for its decision."""
    made = spec(case)
    judged = make_rule(made, asker=make_asker(made)).judged_epochs()
    judged = frozenset(range(made.budget.epochs)) if judged is None else judged
    reached: dict[tuple[str, int], int] = {}
    for record in played(case, 0):
        if isinstance(record, Report):
            before = reached.get((record.trial, record.generation), 0)
            reached[record.trial, record.generation] = record.epoch
            own = record.decision.outcome not in ("finished", "diverged")
            if record.decision.action != "go" and own:
                assert any(before < epoch <= record.epoch for epoch in judged), record


@pytest.mark.parametrize("case", CASES)
def test_who_pauses_has_a_checkpoint_to_go_on_from(case: str) -> None:
    made = spec(case)
    saved = make_rule(made, asker=make_asker(made)).saved_epochs()
    for record in played(case, 0):
        if isinstance(record, Report) and record.decision.action in ("pause", "clone"):
            assert record.epoch in saved


@pytest.mark.parametrize("case", CASES)
def test_it_holds_nothing_that_changes(case: str) -> None:
    """What it knows is the state of the run: so a resume decides what the run would have."""
    records = simulate(spec(case), mostly)
    whole = lines(records)
    for cut in range(2, len(records), 3):
        assert lines(resumed(spec(case), mostly, records[:cut])[cut:]) == whole[cut:], f"cut after {cut} records"


@pytest.mark.parametrize("case", CASES)
def test_it_has_a_version(case: str) -> None:
    """Raised whenever the same records would be answered differently, so that an audit does not compare them."""
    assert isinstance(make_rule(spec(case)).version, int) and make_rule(spec(case)).version > 0
