"""Constraints: what keeps them is ahead of all that does not, in the best, at rungs, and to the samplers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from optuna.trial import TrialState

from tuner.core.events import Returned
from tuner.core.records import Ended
from tuner.core.search.kinds import KINDS
from tuner.core.search.study import StudySearcher
from tuner.simulate import Simulation
from tuner.spec.objective import read_limit

from .experiments import Hand, experiment

LIMIT = {"latency": "<= 5"}


def limited(**parts: Any) -> Hand:
    return Hand(experiment(**{"constraints": LIMIT, "budget": {"trials": 9, "epochs": 2}, **parts}))


def told(score: float, latency: float) -> dict[str, float]:
    return {"score": score, "latency": latency}


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("<= 5", 5.0, 0), ("<= 5", 6.0, 0.2), ("<5", 5.0, 2.220446049250313e-16), ("< 5", 4.0, 0),
        (">= -2", -3.0, 0.5), (">0", 0.0, 2.220446049250313e-16), (">= 0", -3.0, 3.0), ("<= 1e-3", math.nan, 1e6),
        (">= 1", math.inf, 1e6),
    ],
)  # fmt: skip
def test_a_violation_is_a_part_of_the_bound(text: str, value: float, violation: float) -> None:
    limit = read_limit("m", text)
    assert limit is not None and limit.violation(value) == violation


def test_only_what_keeps_the_constraints_can_be_the_best() -> None:
    hand = limited()
    a, b, c = hand.start(3)
    hand.report(a, 1, told(0.9, 7.0))
    assert hand.core.run.best is None and hand.core.run.chosen is None
    hand.report(b, 1, told(0.3, 4.0))
    hand.report(c, 1, told(0.8, 6.0))
    run = hand.core.run
    assert run.best is not None and (run.best.trial, run.best.value) == (b, 0.3)
    hand.report(a, 2, told(0.1, 5.0))
    assert run.trials[a].best is not None and run.trials[a].best.epoch == 2, "its later report keeps them"
    assert run.best.trial == b
    order = sorted(run.trials.values(), key=lambda trial: trial.standing, reverse=True)
    assert [trial.id for trial in order] == [b, a, c]


def test_a_trial_is_infeasible_where_no_report_of_it_keeps_the_constraints() -> None:
    hand = limited()
    a, b, c = hand.start(3)
    hand.report(a, 1, told(0.5, 6.0))
    decision = hand.report(a, 2, told(0.6, 5.5))
    assert (decision.outcome, decision.reason) == (
        "infeasible", "epoch 2 is the last; latency 5.5 breaks latency <= 5"
    )  # fmt: skip
    hand.report(b, 1, told(0.5, 4.0))
    decision = hand.report(b, 2, told(0.6, 5.5))
    assert (decision.outcome, decision.reason) == (
        "finished", "epoch 2 is the last; latency 5.5 breaks latency <= 5, epoch 1 breaks none"
    )  # fmt: skip
    hand.report(c, 1, told(0.5, math.nan))
    ended = hand.do(Returned(trial=c))
    assert isinstance(ended, Ended) and ended.outcome == "infeasible"
    assert [trial.breaks for trial in hand.core.run.trials.values()] == [True, False, True]


def test_a_target_is_not_reached_by_what_breaks_a_constraint() -> None:
    hand = limited(budget={"trials": 9, "epochs": 3, "target": 0.9})
    a, b = hand.start(2)
    assert not hand.report(a, 1, told(0.95, 6.0)).target
    assert hand.report(b, 1, told(0.95, 5.0)).target


def test_at_a_rung_what_breaks_a_constraint_is_behind() -> None:
    hand = limited(scheduler={"kind": "asha", "reduction_factor": 2}, budget={"trials": 9, "epochs": 4})
    a, b, c = hand.start(3)
    assert hand.report(a, 1, told(0.2, 4.0)).action == "go"
    decision = hand.report(b, 1, told(0.9, 6.0))
    assert (decision.outcome, decision.reason) == (
        "stopped",
        "number 2 of 2 at epoch 1 by score, where the best 1/2 go on; latency 6 breaks latency <= 5",
    )
    assert hand.report(c, 1, told(0.3, 5.0)).action == "go"


def test_at_a_rung_equals_have_the_same_rank() -> None:
    hand = limited(scheduler={"kind": "asha", "reduction_factor": 2}, budget={"trials": 9, "epochs": 4})
    decisions = [hand.report(trial, 1, told(0.5, 4.0)) for trial in hand.start(2)]
    assert [(one.action, one.mark and one.mark.rank) for one in decisions] == [("go", 1), ("go", 1)]


def test_the_median_is_that_of_those_that_keep_the_constraints() -> None:
    hand = limited(scheduler={"kind": "median", "min_trials": 2}, budget={"trials": 9, "epochs": 4})
    a, b, c, d, e = hand.start(5)
    for name, score, latency in ((a, 0.9, 9.0), (b, 0.2, 4.0), (c, 0.4, 4.0)):
        assert hand.report(name, 1, told(score, latency)).action == "go"
    assert hand.report(d, 1, told(0.35, 4.0)).action == "go", "0.9 counts for nothing"
    decision = hand.report(e, 1, told(0.9, 6.0))
    assert (decision.outcome, decision.reason) == (
        "stopped", "latency 6 breaks latency <= 5 up to epoch 1, where 3 other trials break none"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2"])
def test_samplers_are_told_of_constraints(kind: str) -> None:
    spec = experiment(search={"kind": kind}, constraints={"latency": "<= 0.5"}, budget={"trials": 8, "epochs": 1})
    records = Simulation(spec, lambda params, epoch: told(params["x"], params["x"])).run()
    searcher = StudySearcher(spec, KINDS[kind][0])
    for record in records:
        searcher.observe(record)
    for trial in searcher.study.get_trials():
        assert trial.state == TrialState.COMPLETE, "one that breaks a constraint was trained, and has a value"
        assert trial.value == trial.params["x"]
        assert trial.constraints == {"latency <= 0.5": (trial.value - 0.5) / 0.5}


def test_a_search_that_is_told_keeps_to_what_is_allowed() -> None:
    def share(kind: str) -> float:
        spec = experiment(search={"kind": kind}, constraints={"latency": "<= 0.2"}, budget={"trials": 40, "epochs": 1})
        records = Simulation(spec, lambda params, epoch: told(params["x"], params["x"])).run()
        late = [record.params["x"] for record in records if record.kind == "suggested"][20:]  # type: ignore[attr-defined]
        return sum(x <= 0.2 for x in late) / len(late)

    assert share("tpe") > share("random") + 0.3
